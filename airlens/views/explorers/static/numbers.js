// Put before the script that needs it (see ../view_scripts.py): what is known of the current step, side
// by side. Needs dom.js before it.

// `numbers` has, of each number, its name, hint (how it is measured), and parts [[whose it is,
// values by step], …], of which the first is the one to read and the others its controls.
function drawNumbers(list, numbers, step) {
  list.replaceChildren();
  list.hidden = !numbers.length;
  if (list.hidden) return;
  const item = (name, className) => {
    const node = element("div", className, list);
    element("dt", "", node, name);
    return element("dd", "", node);
  };
  item("numbers of", "of").textContent = step < 0 ? "no step" : `step ${step}`;
  for (const { name, hint, parts } of numbers) {
    const place = item(name);
    place.parentElement.title = hint;
    parts.forEach(([who, values], n) => {
      const value = short(step < 0 ? null : values[step], 3);
      if (n === 0) { element("b", "", place, value); if (who) element("span", "faint", place, ` ${who}`); }
      else element("span", "faint", place, `${n > 1 || who ? ", " : " "}${who} ${value}`);
    });
  }
}
