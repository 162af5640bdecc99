// Put before page.js (see ./page_script.py): what is shown, as the page's address has it, and back.
const LEAST = 0.2; // of the largest value of a trace: what a source needs to be shown, at first
const STOPS = 50; // places of the threshold's slider

// `known`: what colour, measure and show may be. Of a state: trace, step, unit (a source of the step),
// colour, measure, show, least (the threshold, a share of the trace's largest value), head, without (the
// name of the set that is ablated), map (the part of the map that is shown; []: all) and large.
function makeAddress(index, known) {
  function read(address) {
    const given = new URLSearchParams(address), has = (name) => given.get(name) ?? "";
    const among = (name) => (known[name].includes(given.get(name)) ? given.get(name) : known[name][0]);
    const number = (name, other) => (/^-?\d{1,6}$/.test(has(name)) ? Number(has(name)) : other);
    const trace = number("trace", 0) - 1, named = trace >= 0 && trace < index.traces, least = number("least", STOPS * LEAST);
    const [first, strongest] = index.opens;
    return {
      trace: named ? trace : first, // an address that names no trace opens at the finding
      step: named ? number("step", -1) : strongest,
      unit: named ? number("source", null) : null,
      least: Math.min(STOPS, Math.max(0, least)) / STOPS,
      without: index.subsets.length && setOf(has("without"), index) ? has("without") : "",
      head: index.map && index.heads.includes(given.get("head")) ? given.get("head") : "",
      map: /^\d{1,6}(\.\d{1,2})?(_\d{1,6}(\.\d{1,2})?){3}$/.test(has("map")) ? has("map").split("_").map(Number) : [],
      large: has("large") === "1",
      colour: among("colour"),
      measure: among("measure"),
      show: among("show"),
    };
  }

  // What is not as it is at first.
  function write(state) {
    const parts = new URLSearchParams({ trace: state.trace + 1 });
    if (state.step >= 0) parts.set("step", state.step);
    if (state.unit !== null) parts.set("source", state.unit);
    for (const name of ["colour", "measure", "show"]) if (state[name] !== known[name][0]) parts.set(name, state[name]);
    if (state.least !== LEAST) parts.set("least", Math.round(STOPS * state.least));
    if (state.head) parts.set("head", state.head);
    if (state.without) parts.set("without", state.without);
    if (state.map.length) parts.set("map", state.map.join("_"));
    if (state.large) parts.set("large", 1);
    return `#${parts}`;
  }

  return { read, write };
}

// The address to be written on a picture: of a file on disk its name alone.
function linkTo(hash) {
  const name = decodeURIComponent(location.pathname.split("/").at(-1));
  return (location.protocol === "file:" ? name : location.href.split("#")[0]) + hash;
}
