// Put before page.js (see ./page_script.py): a trace as it is when fewer heads are ablated. Each head
// alone and some sets were measured; of other sets the sum of single heads is shown, and called an
// estimate. What fewer heads copy is counted among the copied tokens.

// The name of a set of heads: "" of all, "none", of a measured set its own, else those of its heads.
function setName(heads, index) {
  const mine = index.heads.filter((head) => heads.includes(head)), same = (one) => one.size === mine.length && one.heads.every((head) => mine.includes(head));
  if (mine.length === index.heads.length) return "";
  return mine.length ? index.subsets.find(same)?.name ?? mine.join("-") : "none";
}

// The set of that name: its heads, and whether it was measured; null where there is none.
function setOf(name, index) {
  const measured = index.subsets.find((one) => one.name === name);
  if (measured) return { ...measured, measured: true };
  if (name === "" || name === "none") return { name, heads: name ? [] : index.heads, size: name ? 0 : index.heads.length, measured: true };
  const heads = name.split("-");
  return index.alone_measured && heads.length > 1 && setName(heads, index) === name ? { name, heads, size: heads.length, measured: false } : null;
}

// A number as it stands in the margin.
function marginNumber(value) {
  if (Math.abs(value) < 0.005) return "0.00";
  return Math.abs(value) < 100 ? value.toFixed(2).replace("-", "\u2212") : short(value);
}

function sideOf(side, ais, control, longest) {
  if (side.step < 0) return side;
  const bar = (value) => [value === null ? "" : marginNumber(value), Math.min(1, Math.abs(value ?? 0) / longest), Math.abs(value ?? 0) > longest];
  const [value, share, over] = bar(ais), [other, control_share, control_over] = bar(control);
  const aria = `step ${side.step} ${side.name}, AIS ${value || "unknown"}${other ? `, random heads ${other}` : ""}`;
  return { ...side, value, share, over, control: other, control_share, control_over, lower: (ais ?? 0) < 0, aria };
}

// How many tokens of each step each unit is copied to, {step * wide + place of the unit: tokens}.
function copiesByPair(text, places, wide, keeps) {
  const found = new Map(), seen = new Set(), [pieces = [], from = [], heads = []] = text.events ?? [];
  pieces.forEach((piece, n) => {
    const cell = text.steps[piece] * wide + places.get(text.steps[from[n]]);
    if (!keeps(text.heads[heads[n]]) || text.steps[piece] === text.steps[from[n]] || seen.has(`${piece} ${cell}`)) return;
    seen.add(`${piece} ${cell}`);
    found.set(cell, (found.get(cell) ?? 0) + 1);
  });
  return found;
}

// Lists of numbers added; null where one of them is.
const sumOf = (lists) => lists[0].map((_, i) => lists.reduce((sum, list) => (sum === null || list[i] === null ? null : sum + list[i]), 0));

// What a set does: values of pieces and AIS of steps.
function effectOf(data, { name, heads, measured }) {
  const { sets, whole } = data.subsets;
  if (!heads.length) return { values: data.colours.delta.values.map((v) => v && 0), ais: whole.ais.map((v) => v && 0) };
  if (name === "") return { values: data.colours.delta.values, ais: whole.ais };
  if (measured) return sets[name];
  return { values: sumOf(heads.map((head) => sets[head].values)), ais: sumOf(heads.map((head) => sets[head].ais)) };
}

// As many random heads as were measured: as a set has, or the next more.
function controlOf(data, size, index) {
  const { controls, whole } = data.subsets, sizes = Object.keys(controls).map(Number).sort((a, b) => a - b);
  const next = sizes.find((one) => one >= size);
  if (!size) return null;
  if (next !== undefined) return { size: next, ...controls[next] };
  const all = data.colours.delta_control;
  return all ? { size: index.heads.length, values: all.values, ais: whole.control } : null;
}

// How far the sum of single heads is from what was measured of heads together: of each such set
// {size, off, of}, the mean size of the error and of the effect, in AIS of a step.
function sumErrors(data, index) {
  const together = [...index.subsets.filter(({ alone }) => !alone), { name: "", size: index.heads.length, heads: index.heads }];
  return together.filter(({ size }) => size > 1).map(({ name, size, heads }) => {
    const measured = effectOf(data, { name, heads, measured: true }).ais, sum = effectOf(data, { name: "-", heads, measured: false }).ais;
    const known = measured.map((_, i) => i).filter((i) => measured[i] !== null && sum[i] !== null);
    const mean = (of) => known.reduce((all, i) => all + Math.abs(of(i)), 0) / Math.max(1, known.length);
    return { size, off: mean((i) => sum[i] - measured[i]), of: mean((i) => measured[i]) };
  });
}

// What is said of an estimate.
function estimateWords(data, { size }, control, index) {
  const errors = sumErrors(data, index).map(({ size: n, off, of }) => `${n} heads ${short(off)} of ${short(of)}`).join(", ");
  const beside = control ? ` Beside it: ${control.size} random heads, measured${control.size === size ? "" : ", which are more"}.` : "";
  return `Estimate: the sum of ${size} single heads, which were not measured together. Where heads were, in this trace, such a sum misses what was measured by, in AIS of a step on average: ${errors}.${beside}`;
}

// `set` of setOf. Of it: colours and labels by name, sides, numbers, values of copies, and `estimate`,
// what is said of one that was not measured.
function withoutSubset(data, set, index) {
  const { subsets, text, units, measures } = data, mine = effectOf(data, set), control = controlOf(data, set.size, index);
  const keeps = (head) => set.heads.includes(head), by = (steps) => text.steps.map((step) => (step < 0 ? null : steps[step] ?? null));
  const colours = { delta: mine.values, ais: by(mine.ais), ...(control ? { delta_control: control.values } : {}) };
  const labels = set.measured ? {} : Object.fromEntries(["delta", "ais"].map((name) => [name, `${data.colours[name]?.label}, estimate: sum of ${set.size} single heads`]));
  const sides = text.sides.map((side) => sideOf(side, mine.ais[side.step] ?? null, control?.ais[side.step] ?? null, subsets.longest));
  const whose = control && control.size !== set.size ? `${control.size} random heads` : "random heads";
  const parts = [[set.measured ? "" : "(sum of single heads)", mine.ais], ...(control ? [[whose, control.ais]] : [])];
  const numbers = text.numbers.map((number) => (number.name === "AIS" ? { ...number, parts } : number));
  let copies = null;
  if (measures.copies) {
    const wide = units.length, places = new Map(units.map((unit, i) => [unit, i])), { at, values } = measures.copies;
    const [all, some] = [() => true, keeps].map((keep) => copiesByPair(text, places, wide, keep));
    copies = at.map((cell, n) => (values[n] && all.get(cell) ? (values[n] * (some.get(cell) ?? 0)) / all.get(cell) : values[n] && 0));
  }
  return { colours, labels, sides, numbers, copies, keeps, estimate: set.measured ? "" : estimateWords(data, set, control, index) };
}
