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
//   as long as another view points there. Of what is locked (the step, or the unit of the prompt) the
//   rows of its sources and of the steps that use it are outlined, and named above the text.
// Reports: picked [unit, moment] when somebody picks a step or a unit of the prompt; sets current and
//   focus at once. told: what is lit, in words.

function render({ model, el }) {
  const get = (name) => model.get(name);
  const root = element("div", "airlens airlens-text", el);
  const key = element("div", "key", root);
  const scale = element("span", "scale", key);
  const search = makeSearch(key, { changed: () => blocks.dressAll(), show: (piece) => blocks.goTo(piece) });
  const links = makeLinks(root, { point, lock, leave: () => scroll.focus() });
  const body = element("div", "body", root), scroll = element("div", "scroll", body);
  scroll.tabIndex = 0;
  scroll.setAttribute("role", "group");
  scroll.setAttribute("aria-label", "The trace. j, k: next, previous step; left, right: token by token; f, u: what it copies from, what uses it; /: search; n: next match.");
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
  let sources = null, uses = null; // of each step, of each unit; null: to be found
  let pointed = []; // the pair of the chip that is pointed at
  let cursor = -1, lowest = 0;
  const pins = { pinned: -1, followed: -1 }; // see text_keys.js

  function dress(span, i) {
    const weight = lit.get(i);
    span.style.background = tint(get("values")[i], get);
    span.className = `${isLower(get("values")[i], get) ? "lower " : ""}${search.classOf(i)}${i === cursor ? " now" : ""}${weight === undefined ? "" : " lit"}`;
    span.style.boxShadow = weight === undefined ? "" : `0 0 0 2px ${rgba(get("colours")[1], 0.4 + 0.6 * Math.min(1, weight))}`;
  }

  const drawKey = () => colourKey(scale, get);

  // Sources: of a token, of a step, and what is copied from one unit ----------------------------

  const aimed = () => [pointed, get("preview")].find((pair) => pair.length) ?? get("focus");
  // What is locked: the step, or a unit of the prompt.
  const held = () => (get("current") >= 0 ? get("current") : get("focus")[0] === -1 ? get("focus")[1] : null);
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

  // What is said and lit while nothing is pointed at.
  function rest() {
    const { pinned } = pins, previewed = String(aimed()) !== String(get("focus"));
    const of = aimOf(aimed(), get("current"), lowest);
    if (pinned >= 0 && !previewed && (copies.has(pinned) || !of)) { pointAt(pinned); return; }
    moveCursor(pinned);
    const { lit: next, words } = of ? copiedBy(of.step, of.unit, copies, trace()) : { lit: new Map(), words: [] };
    light(next);
    const told = of && copies.size > 0 ? copiesInWords(of, words) : "";
    const note = pinned >= 0 ? `${get("notes")[pinned] ?? ""}\n` : "";
    readout.textContent = note + (told || (get("texts").length ? get("hint") : ""));
    if (previewed || get("told") === told) return;
    model.set("told", told);
    model.save_changes();
  }

  // What the locked unit copies from, and what uses it.
  function neighbours() {
    const control = get("show") === "control", [, warm, grey] = get("colours");
    sources ??= strongest(get("pairs"), { threshold: get("threshold"), most: get("strongest"), control });
    uses ??= usesOf(sources);
    return { held: held(), from: sources.get(held()) ?? [], uses: uses.get(held()) ?? [], control, colour: control ? grey : warm };
  }

  function outline() {
    const [step, unit] = aimed(), mine = neighbours();
    marked = outlineRows(blocks, marked, { ...mine, current: get("current"), chosen: step >= 0 && unit === mine.held ? step : unit });
  }

  function mark() {
    outline();
    links.draw({ ...neighbours(), lowest, focus: get("focus"), measure: get("measure"), known: get("pairs").length > 0 });
    drawNumbers(numbers, get("numbers"), get("current"));
    strip.mark(get("current"));
  }

  function remark() {
    sources = uses = null;
    mark();
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
    if (step < 0 || get("focus").length) model.set("focus", step < 0 ? [-1, step] : []);
    model.set("picked", [step, moment()]);
    model.save_changes();
  }

  function point(pair) {
    if (String(pair) === String(pointed)) return;
    pointed = pair;
    rest();
    outline();
  }

  // A step and its source; the other end comes into sight.
  function lock([step, source], unit) {
    pointed = [];
    model.set("current", step);
    model.set("focus", [step, source]);
    model.save_changes();
    blocks.goTo(-1, unit);
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
    lit = new Map(); marked = new Set(); pointed = []; cursor = pins.pinned = pins.followed = -1;
    lowest = Math.min(0, steps[0] ?? 0);
    drawKey();
    blocks.draw(texts, steps, get("sides"), get("colours"));
    if (!texts.length) element("div", "faint", scroll, get("empty"));
    search.load(texts);
    drawStrip();
    readEvents();
    remark();
  }

  scroll.addEventListener("click", onClick);
  watchTextKeys(scroll, { get, pins, pick, rest, blocks, search, links });
  scroll.addEventListener("mouseover", (event) => { if (pieceOf(event) >= 0) pointAt(pieceOf(event)); });
  scroll.addEventListener("mouseleave", rest);
  const end = listen(model, {
    version: drawAll, sides: () => { blocks.dressSides(get("sides"), get("colours")); drawStrip(); mark(); }, numbers: () => { drawStrip(); mark(); }, values: () => { blocks.dressAll(); drawKey(); }, label: drawKey, events: readEvents, current: onCurrent,
    "pairs threshold strongest show measure": remark,
    focus: () => { if (get("focus").length) pins.pinned = -1; rest(); mark(); },
    preview: () => { rest(); outline(); },
  });
  drawAll();
  return () => { blocks.end(); strip.end(); end(); root.remove(); };
}

export default { render };
