// The page around the views: which trace is shown and how, and what the address says of it.
// Put after dom.js and history.js (see ./page_script.py), which also makes `VIEWS`, {name: {render}},
// the modules of the notebook's widgets, and `DEFAULTS`, {name: traits}.
const STRONGEST = 5; // sources of a step that are shown, at most
const BEGIN = 70; // letters of a unit that the map quotes
const LONG = 9; // letters of a label for which the margin has no room beside its bars

// What a widget's model is to its view, without a kernel behind it.
function makeModel(traits) {
  const values = { ...traits }, calls = new Map();
  const of = (event) => calls.get(event) ?? calls.set(event, new Set()).get(event);
  const model = {
    get: (name) => values[name],
    set: (name, value) => model.update({ [name]: value }),
    save_changes() {},
    on: (event, call) => { of(event).add(call); },
    off: (event, call) => { of(event).delete(call); },
    // All values are there before the first change is told, as in a widget that is filled.
    update(next) {
      const changed = Object.keys(next).filter((name) => values[name] !== next[name]);
      Object.assign(values, next);
      for (const name of changed) for (const call of [...of(`change:${name}`)]) call();
    },
    fill: (next) => model.update({ ...next, version: (values.version ?? 0) + 1 }),
  };
  return model;
}

const at = (id) => document.getElementById(id);

function mount(id, view, traits = {}) {
  const model = makeModel({ ...DEFAULTS[view], ...traits });
  VIEWS[view].render({ model, el: at(id) });
  return model;
}

// Data are JSON, long ones deflated and in base64.
async function unpack(id) {
  const node = at(id);
  if (node.type === "application/json") return JSON.parse(node.textContent);
  const letters = atob(node.textContent), bytes = new Uint8Array(letters.length);
  for (let i = 0; i < letters.length; i++) bytes[i] = letters.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

// Puts together again what ./data.py took apart so that less has to be sent.
function unfold(data) {
  const columns = data.text.notes, { attention, attention_per_token: shared } = data.measures;
  data.text.notes = data.text.texts.map((_, i) => columns.filter(([, parts]) => parts[i] !== null).map(([begin, parts]) => begin + parts[i]).join("   "));
  if (shared && !shared.at) {
    const share = (value, i) => (value === null ? null : value / data.sizes[attention.at[i] % data.units.length]);
    Object.assign(shared, { at: attention.at, values: attention.values.map(share), controls: attention.controls.map(share) });
  }
  if (data.matrix) data.matrix.words = beginnings(data.text, data.units);
  return data;
}

// How each unit begins.
function beginnings({ texts, steps }, units) {
  const found = new Map();
  texts.forEach((piece, i) => { if ((found.get(steps[i]) ?? "").length <= BEGIN) found.set(steps[i], (found.get(steps[i]) ?? "") + piece); });
  return units.map((unit) => {
    const words = (found.get(unit) ?? "").replace(/\s+/g, " ").trim();
    return words.length > BEGIN ? `${words.slice(0, BEGIN - 1)}\u2026` : words;
  });
}

function start(index) {
  const loaded = new Map();
  const load = (trace) => loaded.get(trace) ?? loaded.set(trace, unpack(`trace-${trace}`).then(unfold)).get(trace);
  const colours = index.colours.map(({ name }) => name), measures = index.measures.map(({ name }) => name);
  index.alone_measured = index.subsets.length > 0 && index.heads.every((head) => index.subsets.some(({ name, alone }) => alone && name === head));
  const address = makeAddress(index, { colour: colours, measure: measures, show: index.controls ? ["critical", "control", "both"] : ["critical"] });
  const state = address.read(""); // see address.js
  // Those of the slider: the strongest 1, 2, 4, … heads, and all ("").
  const tops = [...index.subsets.filter(({ name, alone }) => !alone || name === index.heads[0]), { name: "", size: index.heads.length }].sort((a, b) => a.size - b.size);
  let data = null, drawn = -1, turn = 0;

  const text = mount("text", "text", { ...index.text, strongest: STRONGEST });
  const arcs = measures.length ? mount("arcs", "arcs", { strongest: STRONGEST }) : null;
  const matrix = measures.length ? mount("matrix", "matrix", { row_title: "step", roomy: true }) : null;
  const track = index.early ? mount("track", "track") : null;
  const map = index.map ? mount("map", "grid", index.map) : null;
  const alone = index.alone ? mount("alone", "grid") : null;
  const table = mount("table", "table", index.table);
  const off = index.alone_measured ? makeHeadsOff(at("heads-off"), index.heads, (heads) => show({ without: setName(heads, index) })) : null;

  // The address ---------------------------------------------------------------------------------

  const fromAddress = (text = location.hash.slice(1) || index.story[0] || "") => address.read(text);

  const places = makeHistory(() => show(fromAddress()));

  function toAddress(moved) {
    const hash = address.write(state);
    places.put(hash, moved);
    matrix?.set("link", linkTo(hash));
  }

  // What is shown -------------------------------------------------------------------------------

  async function show(next) {
    Object.assign(state, next);
    const mine = ++turn, found = await load(state.trace);
    if (mine !== turn) return; // something newer is asked for
    data = found;
    const fresh = drawn !== state.trace;
    drawn = state.trace;
    if (!data.text.steps.includes(state.step)) state.step = -1;
    // Without a step, the unit is one whose uses are shown.
    if (!data.units.includes(state.unit) || (state.step >= 0 && state.unit >= state.step)) state.unit = null;
    subset = readSubset();
    const sources = readSources();
    const focus = state.unit === null ? [] : [state.step, state.unit];
    at("views").classList.toggle("large", state.large);
    at("text").classList.toggle("wordy", data.text.sides.some(({ step, name }) => step >= 0 && name.length > LONG));
    const colours = data.colours[state.colour], values = subset?.colours[state.colour] ?? colours.values, { sides, numbers } = subset ?? data.text;
    const label = (subset?.colours[state.colour] && subset.labels[state.colour]) ?? colours.label;
    const put = (view, traits) => (fresh ? view.fill(traits) : view.update(traits));
    put(text, { ...(fresh ? { ...data.text, current: -1 } : {}), ...colours, values, label, sides, numbers, ...sources, events: lit(data.text.events) });
    text.set("current", state.step); // last: what is current comes into sight where it now is
    if (String(text.get("focus")) !== String(focus)) text.set("focus", focus);
    if (track) put(track, { ...(fresh ? data.track : {}), current: state.step });
    if (arcs) put(arcs, { units: data.units, ...sources, current: state.step });
    if (matrix) put(matrix, { ...readMatrix(), sides });
    if (alone) put(alone, { ...(fresh ? data.alone ?? { rows: [], cols: [] } : {}), column: state.step });
    map?.set("current", state.head ? index.map.names.indexOf(state.head) : -1);
    table.set("current", state.trace);
    sayWhich(fresh);
    sayStop();
    toAddress();
    document.documentElement.dataset.shown = state.trace + 1;
  }

  // Of the cells of the matrix, the sources that text and arcs draw.
  function readSources() {
    const found = data.measures[state.measure];
    if (!found) return { pairs: [], threshold: 0 };
    const wide = data.units.length;
    const copies = state.measure === "copies" ? subset?.copies : null, key = state.measure, kept = copies ? data.fewer.pairs : (data.pairs ??= {});
    kept[key] ??= [found.at.map((cell) => Math.floor(cell / wide)), found.at.map((cell) => data.units[cell % wide]), copies ?? found.values, found.controls];
    const most = found.values.reduce((a, b) => Math.max(a, b ?? 0), 0), threshold = state.least * most;
    at("threshold").value = Math.round(STOPS * state.least);
    at("threshold-said").textContent = short(threshold);
    return { pairs: kept[key], measure: index.measures.find(({ name }) => name === state.measure).said, threshold, show: state.show };
  }

  function readMatrix() {
    const place = data.units.indexOf(state.unit), wide = data.units.length;
    return {
      ...data.matrix, ...data.measures[state.measure], ...(subset?.copies && state.measure === "copies" ? { values: subset.copies } : {}), show: state.show === "control" ? "control" : "critical",
      row: state.step, column: place, current: place < 0 || state.step < 0 ? -1 : state.step * wide + place,
      window: state.map, large: state.large, finding: index.strongest[state.trace].said, name: String(index.table.rows[state.trace][0]),
    };
  }

  // What fewer heads do; the newest is kept: a view that is given the same lists again draws nothing.
  let subset = null;
  function readSubset() {
    if (!state.without || !data.subsets) return null;
    if (data.fewer?.name !== state.without) data.fewer = { name: state.without, pairs: {}, found: withoutSubset(data, setOf(state.without, index), index) };
    return data.fewer.found;
  }

  // The copies of one head, or of fewer.
  function lit(events = []) {
    const { head } = state, kept = subset ? (data.fewer.lit ??= {}) : (data.lit ??= {});
    if ((!head && !subset) || !events.length) return events;
    if (kept[head]) return kept[head];
    const mine = data.text.heads.map((name) => (!head || name === head) && (!subset || subset.keeps(name)));
    const rows = [...events[0].keys()].filter((i) => mine[events[2][i]]);
    return (kept[head] = events.map((column) => rows.map((i) => column[i])));
  }

  function sayWhich(fresh) {
    at("colour").value = state.colour;
    sayWithout();
    if (measures.length) { at("measure").value = state.measure; at("show").value = state.show; }
    const { said, step } = index.strongest[state.trace], there = at("strongest");
    there.hidden = state.trace === index.opens[0]; // the title says it of that trace
    there.querySelector("span").textContent = said;
    there.querySelector("button").hidden = step < 0 || step === state.step;
    if (index.map) {
      at("one-head").hidden = !state.head;
      at("one-head").textContent = `only what ${state.head} copies \u2715`;
      at("one-head").setAttribute("aria-label", `only what ${state.head} copies is lit; show all heads again`);
    }
    document.querySelectorAll("#traces button").forEach((card, i) => {
      card.setAttribute("aria-pressed", String(i === state.trace));
      if (fresh && i === state.trace) reveal(card);
    });
  }

  function sayWithout() {
    if (!index.subsets.length) return;
    const { size, heads, alone = false, measured } = setOf(state.without, index), total = index.heads.length;
    const place = tops.findIndex((top) => top.name === state.without || (alone && top.size === 1));
    at("top").value = place < 0 ? tops.findLastIndex((top) => top.size <= size) : place;
    at("top-said").textContent = alone ? state.without : `${size} of ${total}${measured ? "" : ", an estimate"}`;
    at("one-alone").value = alone ? state.without : "";
    const effect = (head) => (data.subsets ? (state.step < 0 ? meanOf(data.subsets.sets[head].ais) : data.subsets.sets[head].ais[state.step] ?? null) : null);
    off?.show(heads, effect, state.step < 0 ? "on average" : `of step ${state.step}`);
    at("estimate").textContent = subset?.estimate ?? "";
    at("estimate").hidden = !subset?.estimate;
    at("text").classList.toggle("estimate", Boolean(subset?.estimate));
  }

  const meanOf = (list) => { const known = list.filter((value) => value !== null); return known.length ? known.reduce((a, b) => a + b, 0) / known.length : null; };

  // Into sight in its strip, without moving the page.
  function reveal(card) {
    const strip = card.parentElement, low = card.offsetLeft - strip.offsetLeft, high = low + card.offsetWidth;
    if (low < strip.scrollLeft || high > strip.scrollLeft + strip.clientWidth) strip.scrollLeft = low - strip.clientWidth / 3;
  }

  // A tour --------------------------------------------------------------------------------------

  let stop = 0;
  function visit(to) {
    if (to < 0 || to >= index.story.length) return;
    stop = to;
    places.click();
    show(fromAddress(index.story[to]));
    at("reader").scrollIntoView({ block: "start" });
  }

  function sayStop() {
    if (!index.story.length) return;
    const here = address.write({ ...state, map: [], large: false }), is = (n) => address.write({ ...fromAddress(index.story[n]), map: [], large: false }) === here;
    const found = is(stop) ? stop : index.story.findIndex((_, n) => is(n));
    if (found >= 0) stop = found;
    at("story").classList.toggle("away", found < 0);
    at("story").querySelectorAll("li").forEach((node, n) => node.classList.toggle("now", n === stop));
    at("story-at").textContent = `${stop + 1} of ${index.story.length}`;
    at("story-back").disabled = stop === 0;
    at("story-on").disabled = stop === index.story.length - 1;
  }

  at("story-back")?.addEventListener("click", () => visit(stop - 1));
  at("story-on")?.addEventListener("click", () => visit(stop + 1));
  addEventListener("keydown", (event) => {
    const way = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!way || event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, pre")) return;
    visit(stop + way);
  });

  // What somebody does --------------------------------------------------------------------------

  const choose = (trace) => show({ trace, step: index.strongest[trace].step, unit: null, map: [] });
  at("strongest").querySelector("button").addEventListener("click", () => show({ step: index.strongest[state.trace].step, unit: null }));
  at("one-head")?.addEventListener("click", () => show({ head: "" }));
  at("traces").addEventListener("click", (event) => {
    const card = event.target.closest("button");
    if (card) choose(Number(card.dataset.trace));
  });
  table.on("change:picked", () => { choose(table.get("picked")[0]); at("reader").scrollIntoView({ block: "start" }); });
  at("top")?.addEventListener("input", (event) => show({ without: tops[event.target.valueAsNumber].name }));
  at("one-alone")?.addEventListener("change", (event) => show({ without: event.target.value }));
  for (const name of ["colour", "measure", "show"]) at(name)?.addEventListener("change", (event) => show({ [name]: event.target.value }));
  at("threshold")?.addEventListener("input", (event) => show({ least: event.target.valueAsNumber / STOPS }));
  document.querySelector("form.controls").addEventListener("submit", (event) => event.preventDefault());
  // A step, or a unit of the prompt, whose uses are shown.
  const pick = (unit) => show(unit < 0 ? { step: -1, unit } : { step: unit, unit: null });
  for (const view of [text, arcs]) view?.on("change:picked", () => pick(view.get("picked")[0]));
  track?.on("change:picked", () => show({ step: track.get("picked")[0], unit: null }));
  text.on("change:focus", () => {
    const [step, unit] = text.get("focus");
    if (step >= 0 && (step !== state.step || unit !== state.unit)) show({ step, unit });
  });
  if (matrix) text.on("change:told", () => matrix.set("told", text.get("told")));
  matrix?.on("change:hovered", () => text.set("preview", matrix.get("hovered")));
  matrix?.on("change:window", () => { state.map = matrix.get("window"); toAddress(true); });
  matrix?.on("change:large", () => { if (matrix.get("large") !== state.large) show({ large: matrix.get("large") }); });
  matrix?.on("change:picked", () => {
    const cell = matrix.get("picked")[0], wide = data.units.length;
    show({ step: Math.floor(cell / wide), unit: data.units[cell % wide] });
  });
  map?.on("change:picked", () => {
    const cell = map.get("picked")[0], name = index.map.names[cell], other = !index.heads.includes(name);
    map.set("told", other ? `${name} is not one of the ablated heads (outlined): what it copies was not measured.` : "");
    show({ head: name === state.head || other ? "" : name }).then(() => { if (other) map.set("current", cell); });
  });
  alone?.on("change:picked", () => show({ step: alone.get("picked")[0] % alone.get("cols").length, unit: null }));
  show(fromAddress());
}

unpack("index").then(start).catch((error) => {
  at("failed").hidden = false;
  at("failed").append(` (${error.message})`);
  throw error;
});
