// Put before the scripts that need it (see ../view_scripts.py): the AIS of many steps as thin bars, in
// three paths. Needs dom.js before it.

// `bars`: [left, top, length] of each.
function barPath(parent, bars, thick, colour) {
  if (!bars.length) return;
  const d = bars.map(([x, y, long]) => `M${x.toFixed(1)} ${y.toFixed(2)}h${Math.max(0.5, long).toFixed(1)}`).join("");
  shape("path", { d, fill: "none", stroke: colour, "stroke-width": thick.toFixed(2), class: "bars" }, parent);
}

// Of the sides of a text (traits.step_sides), those of steps: AIS, and random heads' over it, so that
// what is seen of a bar is above its control. `y(step)`: the middle of a step.
function aisBars(parent, sides, { x, y, long, thick, colours: [cool, warm, grey] }) {
  const of = (some, name) => some.map((side) => [x, y(side.step), long * side[name]]);
  barPath(parent, of(sides.filter((side) => side.value && !side.lower), "share"), thick, warm);
  barPath(parent, of(sides.filter((side) => side.value && side.lower), "share"), thick, cool);
  barPath(parent, of(sides.filter((side) => side.control), "control_share"), thick, grey);
}
