// The page around the views: which trace is shown and how, and what the address says of it.
// Put after dom.js (see ./scripts.py), which also makes `VIEWS`, {name: {render}}, the modules of
// the notebook's widgets, and `DEFAULTS`, {name: traits}.
const STRONGEST = 4; // sources of a step that are shown, at most
const STOPS = 50; // places of the threshold's slider

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
  const bytes = Uint8Array.from(atob(node.textContent), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

function start(index) {
  const loaded = new Map();
  const load = (trace) => loaded.get(trace) ?? loaded.set(trace, unpack(`trace-${trace}`)).get(trace);
  const measures = index.measures.map(({ name }) => name);
  const state = { trace: 0, step: -1, colour: index.colours[0].name, measure: measures[0] ?? "", show: "critical", least: null, head: "" };
  let data = null, shown = -1, turn = 0;

  const text = mount("text", "text", { ...index.text, strongest: STRONGEST, heads: index.heads });
  const arcs = measures.length ? mount("arcs", "arcs", { ...index.arcs, strongest: STRONGEST }) : null;
  const matrix = measures.length ? mount("matrix", "matrix", { ...index.matrix }) : null;
  const both = [text, arcs, matrix].filter(Boolean);
  const map = index.map ? mount("map", "grid", index.map) : null;
  const alone = index.alone ? mount("alone", "grid", index.alone) : null;
  const table = mount("table", "table", index.table);

  // The address ---------------------------------------------------------------------------------

  function fromAddress() {
    const given = new URLSearchParams(location.hash.slice(1));
    const among = (name, known, other) => (known.includes(given.get(name)) ? given.get(name) : other);
    const number = (name, other) => (/^\d+$/.test(given.get(name) ?? "") ? Number(given.get(name)) : other);
    const trace = number("trace", 1) - 1;
    return {
      trace: trace >= 0 && trace < index.traces.length ? trace : 0,
      step: number("step", -1),
      colour: among("colour", index.colours.map(({ name }) => name), index.colours[0].name),
      measure: among("measure", measures, measures[0] ?? ""),
      show: among("show", ["critical", "control", "both"], "critical"),
    };
  }

  function toAddress() {
    const parts = new URLSearchParams({ trace: state.trace + 1 });
    if (state.step >= 0) parts.set("step", state.step);
    if (state.colour !== index.colours[0].name) parts.set("colour", state.colour);
    if (state.measure && state.measure !== measures[0]) parts.set("measure", state.measure);
    if (state.show !== "critical") parts.set("show", state.show);
    if (`#${parts}` !== location.hash) history.replaceState(null, "", `#${parts}`);
  }

  // What is shown -------------------------------------------------------------------------------

  async function show(next, address = true) {
    Object.assign(state, next);
    const mine = ++turn;
    const found = await load(state.trace);
    if (mine !== turn) return; // something newer is asked for
    data = found;
    const fresh = shown !== state.trace;
    shown = state.trace;
    if (!data.sides.includes(state.step)) state.step = -1;
    const sources = readSources(fresh);
    if (fresh) {
      text.fill({ ...data.text, ...data.colours[state.colour], ...sources, current: state.step, focus: [] });
      arcs?.fill({ ...data.arcs, ...sources, current: state.step });
      matrix?.fill({ ...data.matrix, ...sources, current: state.step, focus: [] });
      alone?.fill({ ...data.alone, column: state.step, current: -1 });
      at("alone-part")?.toggleAttribute("hidden", !data.alone);
      table.set("current", state.trace);
    } else {
      text.update(data.colours[state.colour]);
      for (const view of both) view.update({ ...sources, current: state.step });
      alone?.set("column", state.step);
    }
    sayWhich();
    if (address) toAddress();
    document.documentElement.dataset.shown = `${state.trace + 1}`;
  }

  function readSources(fresh) {
    const chosen = index.measures.find(({ name }) => name === state.measure);
    if (!chosen || !data.pairs) return { pairs: [], events: [] };
    const [values, controls] = data.pairs.values[chosen.name];
    const most = Math.max(0, ...values.filter((value) => value !== null));
    if (fresh || state.least === null) state.least = chosen.least;
    sayThreshold(chosen, most);
    return {
      pairs: [data.pairs.steps, data.pairs.units, values, controls],
      events: eventsOf(data.events, index.heads.indexOf(state.head)),
      measure: chosen.label,
      threshold: state.least,
      show: state.show,
    };
  }

  let kept = { events: null, head: null, found: null };
  function eventsOf(events, head) {
    if (kept.events === events && kept.head === head) return kept.found;
    const rows = events[0].map((_, i) => i).filter((i) => head < 0 || events[2][i] === head);
    kept = { events, head, found: events.map((column) => rows.map((i) => column[i])) };
    return kept.found;
  }

  function sayThreshold(chosen, most) {
    const slider = at("threshold");
    slider.max = STOPS;
    slider.value = most > 0 ? Math.round((STOPS * state.least) / most) : 0;
    slider.dataset.most = most;
    at("threshold-said").textContent = `${short(state.least)}${chosen.unit}`;
  }

  function sayWhich() {
    at("colour").value = state.colour;
    if (measures.length) { at("measure").value = state.measure; at("show").value = state.show; }
    document.querySelectorAll("#traces button").forEach((card, i) => {
      card.setAttribute("aria-pressed", String(i === state.trace));
      if (i === state.trace) reveal(card);
    });
    if (map) map.set("current", state.head ? index.map.names.indexOf(state.head) : -1);
  }

  // Into sight in its strip, without moving the page.
  function reveal(card) {
    const strip = card.parentElement, [low, high] = [card.offsetLeft, card.offsetLeft + card.offsetWidth];
    if (low < strip.scrollLeft || high > strip.scrollLeft + strip.clientWidth) strip.scrollLeft = low - strip.clientWidth / 3;
  }

  // What somebody does --------------------------------------------------------------------------

  at("traces")?.addEventListener("click", (event) => {
    const card = event.target.closest("button");
    if (card) show({ trace: Number(card.dataset.trace), step: -1 });
  });
  const choose = (id) => at(id)?.addEventListener("change", (event) => show({ [id]: event.target.value, ...(id === "measure" ? { least: null } : {}) }));
  ["colour", "measure", "show"].forEach(choose);
  at("threshold")?.addEventListener("input", (event) => show({ least: (event.target.valueAsNumber / STOPS) * Number(event.target.dataset.most) }));
  table.on("change:picked", () => show({ trace: table.get("picked")[0], step: -1 }));
  for (const view of both) view.on("change:current", () => { if (view.get("current") !== state.step) show({ step: view.get("current") }); });
  matrix?.on("change:focus", () => text.set("focus", matrix.get("focus")));
  map?.on("change:picked", () => {
    const name = index.map.names[map.get("picked")[0]];
    show({ head: name === state.head || !index.heads.includes(name) ? "" : name });
  });
  alone?.on("change:picked", () => show({ step: alone.get("picked")[0] % data.alone.cols.length }));
  addEventListener("hashchange", () => show(fromAddress(), false));
  show(fromAddress());
}

unpack("index").then(start).catch((error) => {
  at("failed").hidden = false;
  at("failed").append(` (${error.message})`);
  throw error;
});
