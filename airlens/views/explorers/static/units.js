// Put before the scripts that need it (see ../view_scripts.py): units of a trace and their sources.

// What a unit is called; those of the prompt are −P…−1 and called 1…P.
function unitName(unit, lowest) {
  return unit < 0 ? `prompt ${unit - lowest + 1}` : `step ${unit}`;
}

// A piece of text between quotation marks; newlines alone are shown as such.
function quote(text) {
  return `\u201c${text.trim() || text.replace(/\n/g, "\u23ce")}\u201d`;
}

// The sources of each step that are shown, {step: [{unit, value, other}]}, strongest first: those
// that reach the threshold, at most so many a step. `other` is the value of the other set of heads.
function strongest([steps = [], sources = [], values = [], controls = []], { threshold, most, control }) {
  const found = new Map();
  const [mine, others] = control ? [controls, values] : [values, controls];
  for (let i = 0; i < steps.length; i++) {
    const value = mine[i];
    if (!(value > 0 && value >= threshold)) continue;
    if (!found.has(steps[i])) found.set(steps[i], []);
    found.get(steps[i]).push({ unit: sources[i], value, other: others[i] });
  }
  for (const [step, list] of found) found.set(step, list.sort((a, b) => b.value - a.value).slice(0, most));
  return found;
}

// The same the other way round: the later steps that use each unit, {unit: [{unit: step, value, other}]}.
function usesOf(found) {
  const uses = new Map();
  for (const [step, list] of found) for (const { unit, value, other } of list) {
    if (!uses.has(unit)) uses.set(unit, []);
    uses.get(unit).push({ unit: step, value, other });
  }
  for (const list of uses.values()) list.sort((a, b) => b.value - a.value);
  return uses;
}

// The same of all steps as arcs, of the critical heads, of random ones ("control") or of both; `path`
// is for who draws them.
function arcsOf(pairs, { show, threshold, most }) {
  const bound = (pairs[2] ?? []).reduce((a, b) => Math.max(a, b ?? 0), 1e-9), arcs = [];
  for (const control of [false, true]) {
    if (show !== "both" && control !== (show === "control")) continue;
    for (const [step, sources] of strongest(pairs, { threshold, most, control }))
      for (const { unit, value } of sources) arcs.push({ step, unit, value, control, strength: Math.min(1, value / bound), path: null });
  }
  return arcs;
}
