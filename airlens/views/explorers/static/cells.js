// Put before the script that needs it (see ../view_scripts.py): the colours of the cells of a map, and
// many cells as one picture.

// Colour and opacity of a cell with this value.
function cellColour(value, get) {
  const [cool, warm, grey] = get("colours"), signed = get("signed");
  if (value === null || value === undefined) return [cool, 0];
  const share = Math.min(1, (signed ? Math.abs(value) : Math.max(0, value)) / (get("bound") || 1));
  if (get("show") === "control") return [grey, 0.06 + 0.94 * share];
  return [signed && value > 0 ? warm : cool, 0.06 + 0.94 * share];
}

// A picture of rows x cols cells, a pixel each; of those that have none, nothing.
function paintCells(picture, values, get, { rows, cols }) {
  const pen = picture.getContext("2d"), image = pen.createImageData(cols, rows), upward = get("upward"), at = get("at");
  const inks = new Map(get("colours").map((colour) => [colour, parseInt(colour.slice(1), 16)]));
  for (let k = 0; k < (at.length || values.length); k++) {
    const cell = at.length ? at[k] : k, [colour, opacity] = cellColour(values[cell], get);
    const row = Math.floor(cell / cols), ink = inks.get(colour);
    const to = 4 * ((upward ? rows - 1 - row : row) * cols + (cell % cols));
    image.data.set([ink >> 16, (ink >> 8) & 255, ink & 255, Math.round(255 * opacity)], to);
  }
  pen.putImageData(image, 0, 0);
}
