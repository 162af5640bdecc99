// A map of cells that can be clicked or walked with the arrow keys: layers x heads, heads x steps.
// Needs dom.js, cells.js and tiles.js before it (../view_scripts.py).
//
// Reads: rows, cols (names), values (row by row), notes (what is said of each cell), told (more about
//   the current cell), marked (cells), current (cell), column (outlined), bound, signed, colours,
//   upward, title, hint, row_title, col_title; picture (a PNG in base64 with a tile for each cell, in the
//   order in which they are drawn: shown instead of colours).
// Reports: picked [index, toggle, moment], with index = row * number of columns + column.
const DENSE = 3000; // cells; more are drawn as one picture

function render({ model, el }) {
  const get = (name) => model.get(name);
  const root = element("div", "airlens airlens-grid", el);
  const heading = element("div", "key", root);
  const tiles = makeTiles(root), { holder } = tiles;
  const readout = element("div", "readout", root);
  readout.setAttribute("aria-live", "polite");
  let svg = null, picture = null, cells = [], cursor = 0, walked = false; // walked: by keys
  let size = { left: 0, w: 1, h: 1, rows: 0, cols: 0, width: 1, height: 1 };
  function describe(index) {
    const { rows, cols } = size, known = index >= 0 && index < rows * cols, row = Math.floor(index / cols);
    tiles.enlarge(known ? [get("upward") ? rows - 1 - row : row, index % cols] : null);
    if (!known) { readout.textContent = get("hint"); return; }
    const told = index === get("current") && get("told") ? `\n${get("told")}` : "";
    readout.textContent = (get("notes")[index] ?? "") + told;
  }

  const box = (index) => {
    const row = Math.floor(index / size.cols);
    return { x: size.left + (index % size.cols) * size.w, y: (get("upward") ? size.rows - 1 - row : row) * size.h + 2 };
  };

  function recolour() {
    if (!svg) return;
    const values = get("values"), { rows, cols } = size;
    if (picture) {
      const at = values.map((_, i) => (get("upward") ? (rows - 1 - Math.floor(i / cols)) * cols + (i % cols) : i));
      paintCells(picture, inkedCells(at, values, get, cols), [0, rows, 0, cols]);
    }
    cells.forEach((cell, index) => {
      const [colour, opacity] = cellColour(values[index], get);
      cell.setAttribute("fill", opacity ? colour : "transparent");
      cell.setAttribute("fill-opacity", opacity.toFixed(3));
    });
    outline();
  }

  function outline() {
    if (!svg) return;
    const top = svg.querySelector(".outlines"), { left, w, h, rows, cols } = size;
    const frame = (x, y, width, height, stroke, thick, className = "") => shape("rect", { x: x + 0.75, y: y + 0.75, width: width - 1.5,
      height: height - 1.5, fill: "none", stroke, "stroke-width": thick, "pointer-events": "none", class: className }, top);
    const thin = h < 6 ? 0.5 : 1; // of a line round a column
    const one = (index, ...look) => frame(box(index).x, box(index).y, w, h, ...look);
    top.replaceChildren();
    for (const index of get("marked")) if (index < rows * cols) one(index, get("colours")[1], 2, "marked");
    if (get("column") >= 0 && get("column") < cols) frame(left + get("column") * w, 2, w, rows * h, "currentColor", thin, "line");
    if (get("current") >= 0 && get("current") < rows * cols) one(get("current"), "currentColor", 3 * thin, "now");
    if (walked && cursor !== get("current")) one(cursor, "currentColor", 2 * thin, "cursor");
    if (walked && get("picture")) top.lastElementChild?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  function measure(rows, cols) {
    const dense = !get("picture") && rows.length * cols.length > DENSE;
    const left = 16 + 7 * Math.max(...rows.map((name) => name.length)) + (get("row_title") ? 14 : 0);
    const room = Math.max(200, Math.min(620, (root.clientWidth || 620) - left - 8)); // narrow: smaller cells, not smaller words
    if (get("picture")) {
      const side = tileSide((root.clientWidth || 620) - left - 8, cols.length);
      size = { left, w: side, h: side, rows: rows.length, cols: cols.length, width: left + side * cols.length + 8, height: side * rows.length + 36 };
      return dense;
    }
    const w = dense ? Math.max(2, room / cols.length) : Math.max(7, Math.min(34, Math.floor(room / cols.length)));
    const h = dense ? Math.max(2, 460 / rows.length) : Math.max(9, Math.min(19, Math.floor(460 / rows.length)));
    size = { left, w, h, rows: rows.length, cols: cols.length, width: left + w * cols.length + 8, height: h * rows.length + 36 };
    return dense;
  }

  function draw() {
    const rows = get("rows"), cols = get("cols");
    holder.replaceChildren();
    heading.textContent = get("title");
    root.dataset.columns = cols.length;
    cells = [];
    svg = picture = null;
    size.rows = size.cols = 0;
    if (!rows.length || !cols.length) { describe(-1); return; }
    const dense = measure(rows, cols), { left, w, h, width, height } = size;
    const percent = (part, whole) => `${(100 * part) / whole}%`;
    const tiled = tiles.draw(get("picture"), rows.length, cols.length);
    holder.style.width = tiled ? `${width}px` : `min(100%, ${width}px)`;
    if (dense) {
      picture = element("canvas", "cells", holder);
      picture.width = cols.length;
      picture.height = rows.length;
    }
    if (dense || tiled) {
      const [across, down] = [[left, w * cols.length], [2, h * rows.length]].map((ends, k) => ends.map((end) => percent(end, k ? height : width)));
      Object.assign((tiled ?? picture).style, { left: across[0], top: down[0], width: across[1], height: down[1] });
    }
    svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, tabindex: 0, role: "application",
      "aria-label": `${get("title")}. Arrow keys move, Enter picks, Space adds or removes.` });
    svg.dataset.lmSuppressShortcuts = "true";
    svg.style.width = "100%";
    const some = every(h, 13), few = every(w, 22);
    rows.forEach((name, row) => {
      const { y } = box(row * cols.length);
      if (row % some === 0) shape("text", { x: left - 6, y: y + h / 2 + 4, "text-anchor": "end", class: "row" }, svg).textContent = name;
      if (!dense) cols.forEach((_, col) => {
        cells[row * cols.length + col] = shape("rect", { class: "cell", x: left + col * w + 0.75, y: y + 0.75,
          width: w - 1.5, height: h - 1.5, rx: 1, "data-index": row * cols.length + col }, svg);
      });
    });
    const from = Math.max(0, cols.indexOf("0")) % few; // round numbers
    cols.forEach((name, col) => {
      if (col % few === from) shape("text", { x: left + (col + 0.5) * w, y: h * rows.length + 16, "text-anchor": "middle" }, svg).textContent = name;
    });
    shape("text", { x: left + (cols.length * w) / 2, y: height - 3, "text-anchor": "middle" }, svg).textContent = get("col_title");
    const middle = (rows.length * h) / 2;
    shape("text", { x: 10, y: middle, "text-anchor": "middle", transform: `rotate(-90 10 ${middle})` }, svg).textContent = get("row_title");
    shape("g", { class: "outlines" }, svg);
    holder.appendChild(svg);
    recolour();
    describe(get("current"));
  }

  function pick(index, toggle) {
    if (!(index >= 0 && index < size.rows * size.cols)) return;
    cursor = index;
    describe(index);
    model.set("picked", [index, toggle ? 1 : 0, moment()]);
    model.save_changes();
  }

  function indexOf(event) {
    if (!svg) return -1;
    const frame = svg.getBoundingClientRect(), scale = size.width / frame.width;
    const col = Math.floor(((event.clientX - frame.left) * scale - size.left) / size.w);
    const line = Math.floor(((event.clientY - frame.top) * scale - 2) / size.h);
    if (col < 0 || col >= size.cols || line < 0 || line >= size.rows) return -1;
    return (get("upward") ? size.rows - 1 - line : line) * size.cols + col;
  }

  function onKey(event) {
    const up = get("upward") ? size.cols : -size.cols;
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: up, ArrowDown: -up }[event.key];
    const next = cursor + (step ?? 0);
    if (step !== undefined) { if (next >= 0 && next < size.rows * size.cols) { cursor = next; walked = true; describe(cursor); outline(); } }
    else if (event.key === "Enter") pick(cursor, false);
    else if (event.key === " ") pick(cursor, true);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  holder.addEventListener("click", (event) => pick(indexOf(event), event.shiftKey));
  holder.addEventListener("mousemove", (event) => { const index = indexOf(event); if (index >= 0) describe(index); });
  holder.addEventListener("mouseleave", () => describe(get("current")));
  holder.addEventListener("keydown", onKey);
  holder.addEventListener("focusout", () => { walked = false; outline(); });
  const end = listen(model, {
    "rows cols title upward picture": draw,
    "values bound signed colours": recolour,
    "marked column current": outline,
    "current notes told hint": () => { cursor = Math.max(0, get("current")); describe(get("current")); },
  });
  draw();
  return () => { end(); root.remove(); };
}

export default { render };
