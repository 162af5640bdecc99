// Put before page.js (see ./page_script.py): a trace as it is when fewer heads are ablated. Values of
// tokens and steps were measured; what fewer heads copy is counted among the copied tokens.

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

// `set`: name and heads of a subset. Of it: colours by name, sides, numbers, and values of copies.
function withoutSubset(data, { name, size, heads }) {
  const { subsets, text, units, measures } = data, mine = subsets.sets[name], control = subsets.controls[size] ?? null;
  const keeps = (head) => heads.includes(head), by = (steps) => text.steps.map((step) => (step < 0 ? null : steps[step] ?? null));
  const colours = { delta: mine.values, ais: by(mine.ais), ...(control ? { delta_control: control.values } : {}) };
  const sides = text.sides.map((side) => sideOf(side, mine.ais[side.step] ?? null, control?.ais[side.step] ?? null, subsets.longest));
  const parts = [["", mine.ais], ...(control ? [["random heads", control.ais]] : [])];
  const numbers = text.numbers.map((number) => (number.name === "AIS" ? { ...number, parts } : number));
  let copies = null;
  if (measures.copies) {
    const wide = units.length, places = new Map(units.map((unit, i) => [unit, i])), { at, values } = measures.copies;
    const [all, some] = [() => true, keeps].map((keep) => copiesByPair(text, places, wide, keep));
    copies = at.map((cell, n) => (values[n] && all.get(cell) ? (values[n] * (some.get(cell) ?? 0)) / all.get(cell) : values[n] && 0));
  }
  return { colours, sides, numbers, copies, keeps };
}
