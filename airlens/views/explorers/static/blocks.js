// Put before the script that needs it (see ../view_scripts.py): the units of a text as rows, each with
// its margin, in blocks that hold their words only while they are in view.
const EDGES = 7; // pixels of a row that are not its text: border and padding (airlens.css)
const BLOCK = 400; // pieces of text in one block, so that a response that is one step stays quick

// The background of a piece with this value.
function tint(value, get) {
  if (value === null || value === undefined) return "";
  const [cool, warm] = get("colours"), share = Math.min(1, Math.abs(value) / (get("bound") || 1)) * 0.62;
  return share < 0.01 ? "" : rgba(get("signed") && value > 0 ? warm : cool, share);
}

// Whether a piece is so far below zero that its colour is seen.
function isLower(value, get) {
  return get("signed") && value < -0.1 * (get("bound") || 1);
}

// What the colours of a text mean, into an element.
function colourKey(scale, get) {
  const [cool, warm] = get("colours");
  scale.replaceChildren();
  if (!get("texts").length) return;
  const [low, high] = get("ends");
  const line = element("span", get("signed") ? "signed" : "", scale, `${get("label")}: ${low}`);
  const ramp = element("i", "ramp", line);
  ramp.style.background = get("signed")
    ? `linear-gradient(90deg, ${rgba(cool, 0.62)}, transparent, ${rgba(warm, 0.62)})`
    : `linear-gradient(90deg, transparent, ${rgba(cool, 0.62)})`;
  element("span", "", line, high);
  element("span", "faint", scale, get("legend"));
}

function drawBar(parent, value, share, colour, over) {
  const row = element("span", "bar", parent);
  element("span", "", row, value);
  const line = element("i", "", row);
  line.style.width = `${Math.round(100 * share)}%`;
  line.style.background = colour;
  if (over) { line.className = "over"; row.title = "longer than its bar: it would flatten all others"; }
}

function drawSide(side, parent, [cool, warm, grey]) {
  const node = button("side", parent); // its name is what it shows
  node.dataset.step = side.step;
  node.title = side.aria;
  const of = element("span", "of", node);
  if (side.step >= 0) element("b", "", of, String(side.step));
  if (side.name) of.append(` ${side.name}`);
  const bars = element("span", "bars", node);
  if (side.value) drawBar(bars, side.value, side.share, side.lower ? cool : warm, side.over);
  if (side.control) drawBar(bars, side.control, side.control_share, grey, side.control_over);
  if (side.note) element("span", "faint", bars, side.note);
  element("span", "badge", node);
  return node;
}

// Whether nothing but newlines follows a piece in its step.
function endings(texts, steps) {
  const found = new Array(texts.length);
  for (let i = texts.length - 1; i >= 0; i--) {
    const last = i + 1 === texts.length || steps[i + 1] !== steps[i];
    found[i] = last || (found[i + 1] && /^\n*$/.test(texts[i + 1]));
  }
  return found;
}

// `dress(span, i)` gives a piece its look.
function makeBlocks(scroll, dress) {
  let blocks = [], home = [], texts = [], ending = [], rows = new Map(); // home: the block of each piece; rows: the blocks of each unit

  function fill(block) {
    if (block.filled) return;
    block.filled = true;
    for (let i = block.from; i < block.to; i++) {
      const span = element("span", "", block.text);
      span.dataset.i = i;
      // The newlines that end a step are marked, but open no empty lines.
      const body = ending[i] ? texts[i].replace(/\n+$/, "") : texts[i];
      body.split("\n").forEach((line, number) => {
        if (number) { element("i", "nl", span, "\u23ce"); span.append("\n"); }
        span.append(line);
      });
      for (let k = body.length; k < texts[i].length; k++) element("i", "nl", span, "\u23ce");
      dress(span, i);
    }
    block.text.style.minHeight = "";
  }

  // A row out of view keeps its height, which the observer knows: to ask the text for its own would lay it out.
  function clear(block, height) {
    if (!block.filled) return;
    block.text.style.minHeight = `${height - EDGES}px`;
    block.text.replaceChildren();
    block.filled = false;
  }

  const watcher = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting, boundingClientRect } of entries) {
      const block = blocks[Number(target.dataset.block)];
      if (block && isIntersecting) fill(block);
      else if (block) clear(block, boundingClientRect.height);
    }
  }, { root: scroll, rootMargin: "300px" });

  const fillAll = () => blocks.forEach(fill); // on paper nothing is scrolled into view
  addEventListener("beforeprint", fillAll);

  function spanOf(i) {
    const block = blocks[home[i]];
    return block && block.filled ? block.text.children[i - block.from] : null;
  }

  function addBlock(unit, side, from, to, colours) {
    const row = element("div", unit < 0 ? "step prompt" : "step", scroll);
    row.dataset.step = unit;
    row.dataset.block = blocks.length;
    const margin = side ? drawSide(side, row, colours) : element("div", "", row);
    const text = element("div", "text", row);
    text.dir = "auto";
    let letters = 0;
    for (let j = from; j < to; j++) { letters += texts[j].length; home[j] = blocks.length; }
    text.style.minHeight = `${Math.ceil(letters / 90) * 24}px`;
    blocks.push({ row, text, unit, badge: margin.querySelector(".badge"), from, to, filled: false });
    if (!rows.has(unit)) rows.set(unit, []);
    rows.get(unit).push(blocks.at(-1));
  }

  return {
    draw(pieces, units, sides, colours) {
      watcher.disconnect();
      scroll.replaceChildren();
      blocks = []; home = []; rows = new Map(); texts = pieces; ending = endings(pieces, units);
      const bySide = new Map(sides.map((side) => [side.step, side]));
      let start = 0;
      for (let i = 1; i <= texts.length; i++) {
        if (i < texts.length && units[i] === units[start] && i - start < BLOCK) continue;
        const first = start === 0 || units[start] !== units[start - 1];
        addBlock(units[start], first ? bySide.get(units[start]) : undefined, start, i, colours);
        start = i;
      }
      blocks.slice(0, 8).forEach(fill);
      blocks.forEach((block) => watcher.observe(block.row));
    },
    // The margins anew; badges are the caller's.
    dressSides(sides, colours) {
      for (const side of sides) {
        const [block] = rows.get(side.step) ?? [], old = block?.row.querySelector(".side");
        if (!old) continue;
        const parked = element("div"), fresh = drawSide(side, parked, colours);
        old.title = fresh.title;
        old.querySelector(".bars").replaceWith(fresh.querySelector(".bars"));
      }
    },
    of: (unit) => rows.get(unit) ?? [],
    dress(i) { const span = spanOf(i); if (span) dress(span, i); },
    dressAll() { for (const b of blocks) if (b.filled) for (let i = b.from; i < b.to; i++) dress(b.text.children[i - b.from], i); },
    // Brings a piece, or a unit's first row, into sight; `enough`: leave it where a part is seen.
    goTo(piece, unit, enough) {
      const block = piece >= 0 ? blocks[home[piece]] : rows.get(unit)?.[0];
      if (!block) return;
      fill(block);
      const move = () => {
        const seen = ((piece >= 0 && spanOf(piece)) || block.row).getBoundingClientRect();
        const view = scroll.getBoundingClientRect();
        const bottom = Math.min(view.bottom, Math.max(innerHeight, view.top + 120)); // of what is seen of it
        const above = enough ? seen.bottom < view.top + 20 : seen.top < view.top;
        const below = enough ? seen.top > bottom - 20 : Math.min(seen.bottom, seen.top + 60) > bottom;
        if (above || below) scroll.scrollTop += seen.top - view.top - (bottom - view.top) / 3;
      };
      move();
      setTimeout(move, 150); // what came into view on the way has its true height by then
    },
    end() { watcher.disconnect(); removeEventListener("beforeprint", fillAll); },
  };
}
