// Put before the scripts that need it (see ../view_scripts.py): copies of tokens, in maps and words.
// Needs units.js before it. `copies` has, of a piece, the [source piece, head, weight] of each copy.
const LISTED = 12; // copied tokens that are named

// The copies of each piece: of the events [[piece], [source piece], [head], [weight]].
function copiesOf([pieces = [], from = [], heads = [], weights = []]) {
  const copies = new Map();
  pieces.forEach((piece, n) => {
    if (!copies.has(piece)) copies.set(piece, []);
    copies.get(piece).push([from[n], heads[n], weights[n]]);
  });
  return copies;
}

// The way of a piece back through the trace, [[piece, source piece, head, weight], …]: of each piece
// the strongest copy, of equal weights the first head, until none is copied (as `al.paths` goes).
function wayBack(copies, piece) {
  const way = [];
  for (let at = piece, next; ; at = next) {
    const [best] = [...(copies.get(at) ?? [])].sort((a, b) => b[2] - a[2] || a[1] - b[1]);
    if (!best || best[0] >= at) return way;
    next = best[0];
    way.push([at, ...best]);
  }
}

// Whence a piece is copied, and its way back if that is longer; a line each. `trace`: texts, steps
// (the unit of each piece), heads (names) and lowest (unit).
function copiedFrom(piece, copies, way, { texts, steps, heads, lowest }) {
  const name = (at) => unitName(steps[at], lowest);
  const from = (copies.get(piece) ?? []).map(([at, head, weight]) => `${heads[head]} ${short(weight)} from ${quote(texts[at])} in ${name(at)}`);
  const hops = way.map(([, to, head, weight]) => `${name(to)} (${heads[head]} ${short(weight)})`);
  const end = way.length && steps[way.at(-1)[1]] >= 0 ? ", where nothing is copied" : "";
  const path = way.length > 1 ? `\npath: ${[name(piece), ...hops].join(" \u2190 ")}${end}` : "";
  return (from.length ? `\ncopied by ${from.join(", ")}` : "") + path;
}

// What is copied by a step (or, with step -1, by any), from a unit (undefined: from any): the weight
// of each piece on either side, and each copy in words. The last answer is kept: one click asks more than once.
const lastCopied = new WeakMap();
function copiedBy(step, unit, copies, trace) {
  const last = lastCopied.get(copies);
  if (last && last.step === step && last.unit === unit) return last.found;
  const found = findCopied(step, unit, copies, trace);
  lastCopied.set(copies, { step, unit, found });
  return found;
}

function findCopied(step, unit, copies, { texts, steps, heads, lowest }) {
  const lit = new Map(), words = [];
  for (const [i, events] of copies) for (const [from, head, weight] of events) {
    if ((step >= 0 && steps[i] !== step) || (unit !== undefined && steps[from] !== unit)) continue;
    lit.set(i, weight).set(from, weight);
    words.push(`${quote(texts[i])} (${step < 0 ? `${unitName(steps[i], lowest)}, ` : ""}${heads[head]} ${short(weight)})`);
  }
  return { lit, words };
}

// Which copies are lit while no token is pointed at: those of a step, from one unit or from all, or those
// from a unit; null: none. `pair`: as focus of text.js.
function aimOf([step, unit], current, lowest) {
  const of = step ?? current, any = unit === undefined;
  if (of < 0 && any) return null;
  const pair = of < 0 ? `from ${unitName(unit, lowest)}` : unitName(of, lowest) + (any ? "" : ` from ${unitName(unit, lowest)}`);
  return { step: of, unit, pair, begin: of < 0 ? "Copied" : "Copied by" };
}

// The same in words, with those of copiedBy.
function copiesInWords({ step, pair, begin }, words) {
  const more = words.length > LISTED ? `, and ${words.length - LISTED} more` : "";
  return words.length ? `${begin} ${pair}: ${words.slice(0, LISTED).join(", ")}${more}` : `Nothing is copied ${step < 0 ? "" : "by "}${pair}.`;
}
