// Put before the script that needs it (see ../view_scripts.py): the text that a view stands beside,
// both in an element .airlens-beside.

function textBeside(root) {
  return root.closest(".airlens-beside")?.querySelector(".airlens-text .scroll") ?? null;
}

// The middle of each unit's first row, in the height of the whole text, at most 20 pixels down in the
// row; no rows where there is no text, or another trace's.
function rowsOf(scroll, units) {
  const rows = new Map();
  for (const row of scroll?.querySelectorAll(".step") ?? []) {
    const unit = Number(row.dataset.step);
    if (!rows.has(unit)) rows.set(unit, row.offsetTop + Math.min(row.offsetHeight, 40) / 2);
  }
  return units.every((unit) => rows.has(unit)) ? rows : new Map();
}
