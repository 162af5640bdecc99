// Put before the script that needs it (see ../view_scripts.py): the sources of the current step as
// chips to click. Needs dom.js and units.js before it.

// `found`: of `strongest`; `lowest`: the first unit; `measure`: what a value is.
function drawLinks(links, found, { current, control, lowest, measure, known }) {
  links.replaceChildren();
  links.hidden = !known;
  if (links.hidden || current < 0) return;
  const name = unitName(current, lowest), what = control ? "random heads" : "in brackets: random heads";
  const said = element("span", "faint", links, found.length ? `${name} from (${what}):` : `${name}: no source above the threshold`);
  said.title = measure;
  for (const { unit, value, other } of found) {
    const text = `${unitName(unit, lowest)}: ${short(value)}${control ? "" : ` (${short(other)})`}`;
    button("chip", links, text, `${text}; show it`).dataset.unit = unit;
  }
}
