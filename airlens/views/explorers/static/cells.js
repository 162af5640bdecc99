// Put before the scripts that need it (see ../view_scripts.py): the colours of the cells of a map, and
// many cells as one picture.

// Colour and opacity of a cell with this value.
function cellColour(value, get) {
  const [cool, warm, grey] = get("colours"), signed = get("signed");
  if (value === null || value === undefined) return [cool, 0];
  const share = Math.min(1, (signed ? Math.abs(value) : Math.max(0, value)) / (get("bound") || 1));
  if (get("show") === "control") return [grey, 0.06 + 0.94 * share];
  return [signed && value > 0 ? warm : cool, 0.06 + 0.94 * share];
}

// The cells that have a value: row, column, and colour as a picture holds it. `at`: the cell of each value.
function inkedCells(at, values, get, width) {
  const found = { rows: [], cols: [], inks: [] };
  for (let k = 0; k < at.length; k++) {
    const [colour, opacity] = cellColour(values[k], get);
    if (!opacity) continue;
    const ink = parseInt(colour.slice(1), 16);
    found.rows.push(Math.floor(at[k] / width));
    found.cols.push(at[k] % width);
    found.inks.push(((Math.round(255 * opacity) << 24) | ((ink & 255) << 16) | (ink & 0xff00) | (ink >> 16)) >>> 0);
  }
  return found;
}

// Where the cells of a window [first row, end, first column, end] are in a picture of this size, as
// `put(ink, left, top, right, bottom)`; each is at least a pixel, between larger ones is a gap.
function eachCell({ rows, cols, inks }, [r0, r1, c0, c1], width, height, put) {
  const w = width / (c1 - c0), h = height / (r1 - r0), gap = Math.min(w, h) < 8 ? 0 : 1;
  for (let k = 0; k < inks.length; k++) {
    const row = rows[k] - r0, col = cols[k] - c0;
    if (row <= -1 || col <= -1 || row >= r1 - r0 || col >= c1 - c0) continue;
    const left = Math.max(0, Math.round(col * w)), top = Math.max(0, Math.round(row * h));
    put(inks[k], left, top, Math.min(width, Math.max(left + 1, Math.round((col + 1) * w) - gap)), Math.min(height, Math.max(top + 1, Math.round((row + 1) * h) - gap)));
  }
}

// The cells of a window, drawn; of several in one pixel the strongest is seen.
function paintCells(picture, cells, part) {
  const { width, height } = picture, pen = picture.getContext("2d"), image = pen.createImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  eachCell(cells, part, width, height, (ink, left, top, right, bottom) => {
    for (let y = top; y < bottom; y++)
      for (let i = y * width + left; i < y * width + right; i++) if (pixels[i] >>> 24 < ink >>> 24) pixels[i] = ink;
  });
  pen.putImageData(image, 0, 0);
}

// The same as shapes: a path for each colour.
function cellShapes(cells, part, width, height, parent) {
  const strongest = new Map(), paths = new Map();
  eachCell(cells, part, width, height, (ink, left, top, right, bottom) => {
    const place = `M${left} ${top}h${right - left}v${bottom - top}h${left - right}z`;
    if (!(strongest.get(place) >>> 24 >= ink >>> 24)) strongest.set(place, ink);
  });
  for (const [place, ink] of strongest) paths.set(ink, (paths.get(ink) ?? "") + place);
  for (const [ink, d] of paths) {
    const [red, green, blue] = [ink & 255, (ink >> 8) & 255, (ink >> 16) & 255];
    shape("path", { d, fill: `rgb(${red},${green},${blue})`, "fill-opacity": ((ink >>> 24) / 255).toFixed(3) }, parent);
  }
}
