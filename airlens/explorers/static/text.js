// A trace as coloured text, its steps in the margin. Only the steps in view are in the page.
const BLOCK = 400; // pieces of text in one block, so that a response that is one step stays quick

function element(tag, className, parent, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  if (parent) parent.appendChild(node);
  return node;
}

function rgba(hex, alpha) {
  const part = (i) => parseInt(hex.slice(i, i + 2), 16);
  return `rgba(${part(1)},${part(3)},${part(5)},${alpha.toFixed(2)})`;
}

function render({ model, el }) {
  const root = element("div", "airlens airlens-text", el);
  const key = element("div", "key", root);
  const scroll = element("div", "scroll", root);
  const readout = element("div", "readout", root);
  readout.setAttribute("aria-live", "polite");
  const get = (name) => model.get(name);
  let blocks = [];
  let ending = [];
  let count = 0;

  function tint(value) {
    if (value === null || value === undefined) return "";
    const [cool, warm] = get("colours");
    const share = Math.min(1, Math.abs(value) / (get("bound") || 1)) * 0.62;
    return share < 0.01 ? "" : rgba(get("signed") && value > 0 ? warm : cool, share);
  }

  function drawKey() {
    const [cool, warm] = get("colours");
    key.replaceChildren();
    if (!get("texts").length) return;
    const [low, high] = get("ends");
    const scale = element("span", "", key, `${get("label")}: ${low}`);
    const ramp = element("i", "ramp", scale);
    ramp.style.background = get("signed")
      ? `linear-gradient(90deg, ${rgba(cool, 0.62)}, transparent, ${rgba(warm, 0.62)})`
      : `linear-gradient(90deg, transparent, ${rgba(cool, 0.62)})`;
    element("span", "", scale, high);
    element("span", "faint", key, get("legend"));
  }

  function fill(block) {
    if (block.filled) return;
    const texts = get("texts");
    const values = get("values");
    for (let i = block.from; i < block.to; i++) {
      const span = document.createElement("span");
      span.dataset.i = i;
      span.style.background = tint(values[i]);
      // The newlines that end a step are marked, but open no empty lines.
      const body = ending[i] ? texts[i].replace(/\n+$/, "") : texts[i];
      body.split("\n").forEach((line, number) => {
        if (number) { element("i", "nl", span, "\u23ce"); span.append("\n"); }
        span.append(line);
      });
      for (let k = body.length; k < texts[i].length; k++) element("i", "nl", span, "\u23ce");
      block.text.appendChild(span);
    }
    block.text.style.minHeight = "";
    block.filled = true;
  }

  function clear(block) {
    if (!block.filled) return;
    block.text.style.minHeight = `${block.text.offsetHeight}px`;
    block.text.replaceChildren();
    block.filled = false;
  }

  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const block = blocks[Number(entry.target.dataset.block)];
      if (block) (entry.isIntersecting ? fill : clear)(block);
    }
  }, { root: scroll, rootMargin: "300px" });

  function bar(parent, value, share, colour) {
    const row = element("span", "bar", parent);
    element("span", "", row, value);
    const line = element("i", "", row);
    line.style.width = `${Math.round(100 * share)}%`;
    line.style.background = colour;
  }

  function drawSide(side, parent) {
    const button = element("button", "side", parent);
    button.type = "button";
    button.dataset.step = side.step;
    button.setAttribute("aria-label", side.aria);
    button.title = side.aria;
    const of = element("span", "of", button);
    element("b", "", of, String(side.step));
    if (side.name) of.append(` ${side.name}`);
    const bars = element("span", "", button);
    const [cool, warm, grey] = get("colours");
    if (side.value) bar(bars, side.value, side.share, side.lower ? cool : warm);
    if (side.control) bar(bars, side.control, side.control_share, grey);
    if (side.note) element("span", "faint", bars, side.note);
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

  function draw() {
    watcher.disconnect();
    scroll.replaceChildren();
    blocks = [];
    drawKey();
    readout.textContent = get("texts").length ? get("hint") : "";
    const texts = get("texts");
    const steps = get("steps");
    ending = endings(texts, steps);
    const sides = new Map(get("sides").map((side) => [side.step, side]));
    if (!texts.length) element("div", "faint", scroll, get("empty"));
    let start = 0;
    for (let i = 1; i <= texts.length; i++) {
      const same = i < texts.length && steps[i] === steps[start];
      if (same && i - start < BLOCK) continue;
      const first = start === 0 || steps[start] !== steps[start - 1];
      const row = element("div", "step", scroll);
      row.dataset.step = steps[start];
      row.dataset.block = blocks.length;
      if (first && sides.has(steps[start])) drawSide(sides.get(steps[start]), row);
      else element("div", "", row);
      const text = element("div", "text", row);
      text.dir = "auto";
      let letters = 0;
      for (let j = start; j < i; j++) letters += texts[j].length;
      text.style.minHeight = `${Math.ceil(letters / 90) * 24}px`;
      blocks.push({ row, text, from: start, to: i, filled: false });
      start = i;
    }
    blocks.slice(0, 8).forEach(fill);
    blocks.forEach((block) => watcher.observe(block.row));
    mark();
  }

  function recolour() {
    const values = get("values");
    for (const block of blocks) {
      if (!block.filled) continue;
      for (const span of block.text.children) span.style.background = tint(values[span.dataset.i]);
    }
    drawKey();
  }

  function mark() {
    const current = get("current");
    for (const block of blocks) block.row.classList.toggle("current", Number(block.row.dataset.step) === current);
  }

  function onClick(event) {
    const row = event.target.closest(".step");
    if (!row) return;
    model.set("picked", [Number(row.dataset.step), ++count]);
    model.save_changes();
  }

  function onMove(event) {
    const span = event.target.closest("[data-i]");
    if (!span) return;
    const value = get("values")[span.dataset.i];
    const shown = get("shown") && value !== null ? `  ${get("shown")} ${Number(value.toPrecision(3))}` : "";
    readout.textContent = `${get("notes")[span.dataset.i] ?? ""}${shown}`;
  }

  scroll.addEventListener("click", onClick);
  scroll.addEventListener("mouseover", onMove);
  // "version" is set last, when all that describes a new trace has arrived.
  model.on("change:version", draw);
  model.on("change:values", recolour);
  model.on("change:label", drawKey);
  model.on("change:current", mark);
  draw();
  return () => {
    watcher.disconnect();
    model.off("change:version", draw);
    model.off("change:values", recolour);
    model.off("change:label", drawKey);
    model.off("change:current", mark);
    root.remove();
  };
}

export default { render };
