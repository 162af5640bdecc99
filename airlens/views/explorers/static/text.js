// A trace as coloured text, its units in the margin. Only the blocks in view are in the page.
// Needs dom.js, units.js, copies.js, search.js, blocks.js, links.js, numbers.js, sidebars.js, strip.js
// and text_keys.js before it (../view_scripts.py).
//
// Reads, of the text: texts, steps (the unit of each piece; units of the prompt are negative),
//   values, notes, sides (of units: step, name, aria, value, share, control, control_share, lower,
//   note), numbers (numbers.js), label, shown, ends, bound, signed, colours, legend, empty, hint.
//   `version` is set last and draws all of it anew.
// Reads, of the sources: events [[piece], [source piece], [index in heads], [weight]], heads;
//   pairs [[step], [source unit], [value], [value of random heads]], measure (what a value is),
//   threshold, strongest (sources a step), show ("critical", "control" or "both"); current (step);
//   focus: [], or [step, source unit] whose copied tokens are lit, or [-1, unit]: all that is copied
//   from the unit. Without focus, all that the current step copies is lit. preview: as focus, for
//   as long as another view points there.
// Reports: picked [unit, moment] when somebody picks a step or a unit of the prompt; sets current and
//   focus at once. told: what is lit, in words.
const LISTED = 12; // copied tokens named in the line under the text

function render({ model, el }) {
  const get = (name) => model.get(name);
  const root = element("div", "airlens airlens-text", el);
  const key = element("div", "key", root);
  const scale = element("span", "scale", key);
  const search = makeSearch(key, { changed: () => blocks.dressAll(), show: (piece) => blocks.goTo(piece) });
  const links = element("div", "links", root);
  const body = element("div", "body", root), scroll = element("div", "scroll", body);
  scroll.tabIndex = 0;
  scroll.setAttribute("role", "group");
  scroll.setAttribute("aria-label", "The trace. j, k: next, previous step; left, right: token by token; /: search; n: next match.");
  scroll.dataset.lmSuppressShortcuts = "true"; // or the notebook takes these keys
  const numbers = element("dl", "numbers", root);
  const readout = element("div", "readout", root);
  readout.setAttribute("role", "status");
  readout.tabIndex = 0; // it may be longer than its place
  const blocks = makeBlocks(scroll, dress);
  const strip = makeStrip(body, scroll, { rowOf: (unit) => blocks.of(unit)[0]?.row, pick: (step) => { pick(step); blocks.goTo(-1, step); }, say: (words) => { readout.textContent = words; }, rest });
  const drawStrip = () => strip.draw(get("sides"), get("numbers"), get("colours"));
  let copies = new Map(); // of a piece: [source piece, head, weight] of each event
  let lit = new Map(); // the weight of each piece that is lit
  let marked = new Set(); // units whose rows are outlined
  let cursor = -1, lowest = 0;
  const pins = { pinned: -1, followed: -1 }; // see text_keys.js

  function dress(span, i) {
    const weight = lit.get(i);
    span.style.background = tint(get("values")[i], get);
    span.className = `${search.classOf(i)}${i === cursor ? " now" : ""}${weight === undefined ? "" : " lit"}`;
    span.style.boxShadow = weight === undefined ? "" : `0 0 0 2px ${rgba(get("colours")[1], 0.4 + 0.6 * Math.min(1, weight))}`;
  }

  const drawKey = () => colourKey(scale, get);

  // Sources: of a token, of a step, and what is copied from one unit ----------------------------

  const aimed = () => (get("preview").length ? get("preview") : get("focus"));
  const trace = () => ({ texts: get("texts"), steps: get("steps"), heads: get("heads"), lowest });

  function light(next) {
    const before = lit;
    lit = next;
    for (const i of [...before.keys(), ...lit.keys()]) blocks.dress(i);
  }

  function moveCursor(i) {
    const before = cursor;
    cursor = i;
    blocks.dress(before);
    blocks.dress(i);
  }

  function pointAt(i) {
    const events = copies.get(i) ?? [], value = get("values")[i];
    moveCursor(i);
    const way = i === pins.followed ? wayBack(copies, i) : []; // clicked, or reached by keys and entered
    light(new Map([...events.map(([from, , weight]) => [from, weight]), ...way.map(([, from, , weight]) => [from, weight])]));
    const shown = get("shown") && value !== null && value !== undefined ? `  ${get("shown")} ${short(value, 3)}` : "";
    readout.textContent = `${get("notes")[i] ?? ""}${shown}${copiedFrom(i, copies, way, trace())}`;
  }

  // Which copies are lit while nothing is pointed at: those of a step, from one unit or from all, or
  // those from a unit; and in words.
  function chosen() {
    const [step = get("current"), unit] = aimed(), any = unit === undefined;
    if (step < 0 && any) return null;
    const pair = step < 0 ? `from ${unitName(unit, lowest)}` : unitName(step, lowest) + (any ? "" : ` from ${unitName(unit, lowest)}`);
    return { step, unit, any, pair, begin: step < 0 ? "Copied" : "Copied by" };
  }

  // What is said and lit while nothing is pointed at.
  function rest() {
    const { pinned } = pins, previewed = get("preview").length > 0 && String(get("preview")) !== String(get("focus"));
    if (pinned >= 0 && !previewed && (copies.has(pinned) || !chosen())) { pointAt(pinned); return; }
    moveCursor(pinned);
    const of = chosen();
    const { lit: next, words } = of ? copiedBy(of.step, of.unit, copies, trace()) : { lit: new Map(), words: [] };
    light(next);
    const more = words.length > LISTED ? `, and ${words.length - LISTED} more` : "", known = copies.size > 0;
    const told = !of || !known ? "" : words.length ? `${of.begin} ${of.pair}: ${words.slice(0, LISTED).join(", ")}${more}` : `Nothing is copied ${of.step < 0 ? "" : "by "}${of.pair}.`;
    const note = pinned >= 0 ? `${get("notes")[pinned] ?? ""}\n` : "";
    readout.textContent = note + (told || (get("texts").length ? get("hint") : ""));
    if (previewed || get("told") === told) return;
    model.set("told", told);
    model.save_changes();
  }

  function mark() {
    const current = get("current"), control = get("show") === "control", colour = get("colours")[control ? 2 : 1];
    const found = strongest(get("pairs"), { threshold: get("threshold"), most: get("strongest"), control, only: current }).get(current) ?? [];
    const strength = new Map(found.map(({ unit, value }) => [unit, value])), chosen = aimed()[1];
    const now = new Set([...strength.keys(), chosen, ...(current >= 0 ? [current] : [])]);
    for (const unit of new Set([...marked, ...now])) for (const { row, badge } of blocks.of(unit)) {
      const value = strength.get(unit);
      row.classList.toggle("current", unit === current && unit >= 0); // no step is -1, a unit of the prompt is
      row.classList.toggle("from", value !== undefined);
      row.classList.toggle("chosen", unit === chosen);
      row.style.outlineColor = value === undefined ? "" : rgba(colour, 0.25 + (0.75 * value) / found[0].value);
      if (badge) badge.textContent = value === undefined ? "" : `\u2192 ${short(value)}`;
    }
    marked = now;
    drawLinks(links, found, { current, control, lowest, measure: get("measure"), known: get("pairs").length > 0 });
    drawNumbers(numbers, get("numbers"), current);
    strip.mark(current);
  }

  function readEvents() {
    copies = copiesOf(get("events"));
    rest();
  }

  // What somebody does --------------------------------------------------------------------------

  // A step; or a unit of the prompt, whose uses are lit.
  function pick(step) {
    if (!Number.isFinite(step)) return;
    model.set("current", Math.max(step, -1));
    model.set("focus", step < 0 ? [-1, step] : []);
    model.set("picked", [step, moment()]);
    model.save_changes();
  }

  const pieceOf = (event) => Number(event.target.closest("[data-i]")?.dataset.i ?? -1);

  function onClick(event) {
    const row = event.target.closest(".step");
    if (!row) return;
    pick(Number(row.dataset.step));
    pins.pinned = pins.followed = pieceOf(event);
    rest();
  }

  function onCurrent() {
    mark();
    rest();
    if (get("current") >= 0) blocks.goTo(-1, get("current"), true);
  }

  function drawAll() {
    const texts = get("texts"), steps = get("steps");
    lit = new Map(); marked = new Set(); cursor = pins.pinned = pins.followed = -1;
    lowest = Math.min(0, steps[0] ?? 0);
    drawKey();
    blocks.draw(texts, steps, get("sides"), get("colours"));
    if (!texts.length) element("div", "faint", scroll, get("empty"));
    search.load(texts);
    drawStrip();
    readEvents();
    mark();
  }

  scroll.addEventListener("click", onClick);
  watchTextKeys(scroll, { get, pins, pick, rest, blocks, search });
  scroll.addEventListener("mouseover", (event) => { if (pieceOf(event) >= 0) pointAt(pieceOf(event)); });
  scroll.addEventListener("mouseleave", rest);
  links.addEventListener("click", (event) => {
    if (!event.target.dataset.unit) return;
    const unit = Number(event.target.dataset.unit);
    model.set("focus", [get("current"), unit]);
    model.save_changes();
    blocks.goTo(-1, unit);
  });
  const end = listen(model, {
    version: drawAll, sides: () => { blocks.dressSides(get("sides"), get("colours")); drawStrip(); mark(); }, numbers: () => { drawStrip(); mark(); }, values: () => { blocks.dressAll(); drawKey(); }, label: drawKey, events: readEvents, current: onCurrent,
    "pairs threshold strongest show measure": mark,
    focus: () => { if (get("focus").length) pins.pinned = -1; rest(); mark(); },
    preview: () => { rest(); mark(); },
  });
  drawAll();
  return () => { blocks.end(); strip.end(); end(); root.remove(); };
}

export default { render };
