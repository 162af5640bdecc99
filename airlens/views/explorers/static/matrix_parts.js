// Put before the script that needs it (see ../view_scripts.py): what is drawn around and over the cells
// of matrix.js: names, AIS of the steps, values, outlines. Needs dom.js, cells.js and sidebars.js before it.
//
// A `view` has get (of the model), size {left, width, height, rows, cols} of the cells in pixels and in
// number, and {wide, tall, bars} of what is around them, part (the window, see window.js), places {cell: place among the values} and seen (the cell
// that is pointed at; −1). `ink` is the colour of lines and words.
const TOP = 4, FOOT = 36, BARS = 40; // pixels around the cells
const WIDEST = 34, TALLEST = 19; // pixels of a cell where all of the map is shown
const NOTHING = { left: 0, width: 1, height: 1, rows: 0, cols: 0, bars: 0, wide: 0, tall: 0 };

// In so many pixels of width.
function sizeOf(get, room) {
  const rows = get("rows").length, cols = get("cols").length, left = 24 + 7 * String(rows).length, bars = get("sides").length ? BARS : 0;
  const width = Math.round(Math.min(Math.max(80, room - left - bars - 4), WIDEST * cols));
  const height = Math.round(Math.min(Math.max(220, Math.min(640, 0.74 * innerHeight)), TALLEST * rows));
  return { left, width, height, rows, cols, bars, wide: left + width + bars + 4, tall: TOP + height + FOOT };
}

// What is there on the screen, in cells; null: nothing is.
function pointOf({ size, part: [r0, r1, c0, c1] }, svg, x, y) {
  const box = svg.getBoundingClientRect(), across = (x - box.left - size.left) / size.width, down = (y - box.top - TOP) / size.height;
  return across < 0 || down < 0 || across >= 1 || down >= 1 ? null : [r0 + down * (r1 - r0), c0 + across * (c1 - c0)];
}

const prompts = ({ size }) => size.cols - size.rows; // columns before the steps'
const xOf = ({ size, part }, col) => size.left + ((col - part[2]) * size.width) / (part[3] - part[2]);
const yOf = ({ size, part }, row) => TOP + ((row - part[0]) * size.height) / (part[1] - part[0]);
const cellBox = ({ size, part }) => ({ h: size.height / (part[1] - part[0]), w: size.width / (part[3] - part[2]) });

function write(parent, x, y, anchor, text, more = {}) {
  shape("text", { x: x.toFixed(1), y: y.toFixed(1), "text-anchor": anchor, ...more }, parent).textContent = text;
}

// Rows and columns between two, as far as they are in the window.
function frame(parent, view, [r0, r1, c0, c1], look) {
  const { left, width, height } = view.size;
  const [x0, x1] = [c0, c1].map((col) => Math.max(left, Math.min(left + width, xOf(view, col))));
  const [y0, y1] = [r0, r1].map((row) => Math.max(TOP, Math.min(TOP + height, yOf(view, row))));
  if (x1 <= x0 || y1 <= y0) return;
  shape("rect", { x: x0, y: y0, width: Math.max(2, x1 - x0), height: Math.max(2, y1 - y0), fill: "none", "stroke-width": 1, ...look }, parent);
}

function drawNames(parent, view, ink) {
  const { get, part, size: { left, width, height } } = view, { h, w } = cellBox(view), rows = get("rows"), cols = get("cols");
  const some = every(h, 13), few = every(w, 7 + 7 * String(rows.length).length), from = prompts(view) % few; // round numbers
  for (let r = Math.max(0, Math.ceil(part[0] / some - 0.5) * some); r < part[1]; r += some) {
    const y = yOf(view, r + 0.5);
    if (y >= TOP && y <= TOP + height) write(parent, left - 5, y + 4, "end", rows[r], { class: "row" });
  }
  for (let c = from + Math.ceil((part[2] - from) / few - 0.5) * few; c < part[3]; c += few) {
    const x = xOf(view, c + 0.5);
    if (c >= 0 && x >= left && x <= left + width) write(parent, x, TOP + height + 14, "middle", cols[c]);
  }
  write(parent, left + width / 2, TOP + height + 30, "middle", get("col_title"));
  write(parent, 10, TOP + height / 2, "middle", get("row_title"), { transform: `rotate(-90 10 ${TOP + height / 2})` });
  frame(parent, view, part, { stroke: ink, "stroke-opacity": 0.35, class: "edge" });
  const first = xOf(view, prompts(view));
  if (first > left && first < left + width) shape("path", { d: `M${first.toFixed(1)} ${TOP}v${height}`, stroke: ink, "stroke-opacity": 0.35, class: "prompt" }, parent);
}

function drawSides(parent, view) {
  const { get, part, size: { left, width, height } } = view, { h } = cellBox(view), x = left + width + 6;
  const sides = get("sides").filter(({ step }) => step >= 0 && step + 1 > part[0] && step < part[1]);
  if (!sides.length) return;
  const y = (step) => Math.min(TOP + height - 0.5, Math.max(TOP + 0.5, yOf(view, step + 0.5)));
  aisBars(parent, sides, { x, y, long: BARS - 8, thick: Math.max(1, Math.min(8, 0.7 * h)), colours: get("colours") });
  write(parent, x, TOP + height + 30, "start", "AIS");
}

// Where there is room for them.
function drawValues(parent, view, ink) {
  const { get, part, places, size: { cols } } = view, { h, w } = cellBox(view), list = get(get("show") === "control" ? "controls" : "values");
  const across = 16 / w, down = 6 / h; // half of what a value takes
  if (h < 14 || w < 33) return;
  for (const [cell, place] of places) {
    const row = Math.floor(cell / cols) + 0.5, col = (cell % cols) + 0.5;
    if (row - down < part[0] || row + down > part[1] || col - across < part[2] || col + across > part[3] || list[place] === null) continue;
    const dark = cellColour(list[place], get)[1] > 0.55;
    write(parent, xOf(view, col), yOf(view, row) + 3.5, "middle", short(list[place]), { class: dark ? "value dark" : "value", fill: dark ? "#ffffff" : ink, "font-size": 10 });
  }
}

// Of the current step what it fetches from (its row) and what it is used by (its column), the source
// that is chosen, the cell, and the one that is pointed at.
function drawOutlines(parent, view, ink) {
  const { get, seen, size: { rows, cols } } = view, row = get("row"), column = get("column"), current = get("current"), first = prompts(view);
  parent.replaceChildren();
  const of = (cell) => [Math.floor(cell / cols), Math.floor(cell / cols) + 1, cell % cols, (cell % cols) + 1];
  const line = (some, kind, more = {}) => frame(parent, view, some, { stroke: ink, "stroke-opacity": 0.75, class: `line ${kind}`, ...more });
  if (row >= 0 && row < rows) {
    line([row, row + 1, 0, first + row], "from");
    line([row + 1, rows, first + row, first + row + 1], "used", { "stroke-dasharray": "3 2" });
  }
  if (column >= 0 && column < cols) line([Math.max(0, column - first + 1), rows, column, column + 1], "source");
  if (current >= 0 && current < rows * cols) frame(parent, view, of(current), { stroke: ink, "stroke-width": 2.5, class: "now" });
  if (seen < 0) return;
  const [r0, r1, c0, c1] = of(seen);
  for (const band of [[r0, r1, 0, cols], [0, rows, c0, c1]]) frame(parent, view, band, { fill: ink, "fill-opacity": 0.09, stroke: "none" });
  frame(parent, view, of(seen), { stroke: ink, "stroke-width": 1.5, "stroke-dasharray": "3 2", class: "cursor" });
}

function drawParts(parent, view, ink) {
  drawNames(parent, view, ink);
  drawSides(parent, view);
  drawValues(parent, view, ink);
  drawOutlines(shape("g", { class: "outlines" }, parent), view, ink);
}
