// Steps x sources as a map to zoom and to pan, beside each row the AIS of its step; a click locks a
// cell. Needs dom.js, cells.js, window.js, sidebars.js, matrix_parts.js, gestures.js, picture.js and
// matrix_words.js before it (../view_scripts.py).
//
// Reads: rows (steps), cols (units: those of the prompt first), at (the cells that are known: row *
//   number of columns + column), values, controls (of each), show ("control" shows these), said (of a
//   cell; {row}, {col}, {value}, {control} are filled in), words (the beginning of each unit), told
//   (more about the current cell), row (of the current step), column, current (cell), sides (of
//   text.js), bound, signed, colours, title, hint, row_title, col_title; finding, name and link: for a
//   picture; roomy: whether its place can be made larger. Sets large, and window (what is shown,
//   [first row, end, first column, end]; []: all).
// Reports: picked [cell, 0, moment]; hovered, as focus of text.js: [step, unit], [step], or [].
const MOST = [30, 48]; // pixels of a cell, where it is zoomed
const SETTLED = 250; // milliseconds without a change, after which the window is told

function render({ model, el }) {
  const get = (name) => model.get(name);
  const root = element("div", "airlens airlens-matrix", el);
  const key = element("div", "key", root), heading = element("span", "", key), scale = element("span", "", key);
  const tools = element("span", "tools", key);
  const holder = element("div", "holder", root), picture = element("canvas", "cells", holder);
  const readout = element("div", "readout", root);
  readout.setAttribute("aria-live", "polite");
  const view = { get, size: { ...NOTHING }, part: [0, 1, 0, 1], places: new Map(), seen: -1 };
  let svg = null, cells = null, cursor = -1, walked = false, asked = 0, timer = 0, drawnWide = 0, stale = true; // stale: more than outlines

  const tool = (text, label, call) => { const node = button("", tools, text, label); node.addEventListener("click", call); return node; };
  const out = tool("\u2212", "zoom out", () => zoom(0.5)), on = tool("+", "zoom in", () => zoom(2));
  const all = tool("all", "show all of the map", () => look(wholeOf()));
  const larger = tool("larger", "larger map", () => { model.set("large", !get("large")); model.save_changes(); });
  larger.classList.add("larger");
  const drawn = () => mapPicture(view, cells);
  tool("SVG", "save as SVG", () => saveSvg(drawn(), mapName(get)));
  tool("PNG", "save as PNG", () => savePng(drawn(), mapName(get)));

  const wholeOf = () => [0, view.size.rows, 0, view.size.cols];
  const least = () => [view.size.height / MOST[0], view.size.width / MOST[1]];
  const inside = (cell) => inMap(view, cell);
  const rowOf = (cell) => Math.floor(cell / view.size.cols), colOf = (cell) => cell % view.size.cols;

  function describe() {
    const { seen } = view, current = get("current"), said = cellWords(view, seen >= 0 ? seen : current);
    readout.textContent = (seen < 0 || seen === current) && inside(current) && get("told") ? `${said.split("\n")[0]}\n${get("told")}` : said;
  }

  // What is drawn ---------------------------------------------------------------------------------

  function drawNow() {
    asked = 0;
    if (!svg) return;
    if (stale) {
      paintCells(picture, cells, view.part);
      svg.replaceChildren();
      drawParts(svg, view, "currentColor");
    } else drawOutlines(svg.querySelector(".outlines"), view, "currentColor");
    stale = false;
    const whole = showsAll(view), near = view.part[1] - view.part[0] <= least()[0] * 1.01 && view.part[3] - view.part[2] <= least()[1] * 1.01;
    for (const [node, off] of [[out, whole], [all, whole], [on, near]]) node.disabled = off;
    holder.classList.toggle("zoomed", !whole);
    root.dataset.window = view.part.map((n) => n.toFixed(2)).join(" ");
  }

  const mark = () => { asked ||= requestAnimationFrame(drawNow); }; // once a frame, however much moves
  const redraw = () => { stale = true; mark(); };

  function readCells() {
    const at = get("at");
    cells = inkedCells(at, get(get("show") === "control" ? "controls" : "values"), get, view.size.cols || 1);
    view.places = new Map(at.map((cell, place) => [cell, place]));
    heading.textContent = mapTitle(get);
    svg?.setAttribute("aria-label", `${mapTitle(get)}. ${KEYS}`);
    drawScale(scale, get);
    describe();
    redraw();
  }

  const rounded = () => view.part.map((n) => Math.round(10 * n) / 10);

  function takeWindow() {
    const given = get("window");
    view.part = fitted(given.length === 4 ? given : wholeOf(), view.size.rows, view.size.cols, least());
  }

  // The map anew, in the room that there is.
  function draw() {
    see(-1);
    svg?.remove();
    svg = null;
    clearTimeout(timer);
    const known = get("rows").length > 0 && get("cols").length > 0;
    tools.hidden = holder.hidden = !known;
    larger.hidden = !get("roomy");
    root.dataset.columns = get("cols").length;
    cursor = view.seen = -1;
    walked = false;
    if (!known) { view.size = { ...NOTHING }; readCells(); return; }
    drawnWide = root.clientWidth;
    view.size = sizeOf(get, drawnWide || 620);
    const { left, width, height, wide, tall } = view.size, dots = Math.min(3, devicePixelRatio || 1);
    takeWindow();
    Object.assign(picture, { width: Math.round(width * dots), height: Math.round(height * dots) });
    Object.assign(picture.style, { left: `${left}px`, top: `${TOP}px`, width: `${width}px`, height: `${height}px` });
    Object.assign(holder.style, { width: `${wide}px`, height: `${tall}px` });
    svg = shape("svg", { width: wide, height: tall, tabindex: 0, role: "application" }, holder);
    svg.dataset.lmSuppressShortcuts = "true";
    readCells();
  }

  // What somebody does ----------------------------------------------------------------------------

  // Shows another part; says whether it is another.
  function look(next) {
    const fit = fitted(next, view.size.rows, view.size.cols, least());
    if (fit.every((n, i) => Math.abs(n - view.part[i]) < 1e-6)) return false;
    view.part = fit;
    redraw();
    clearTimeout(timer);
    timer = setTimeout(() => {
      model.set("window", showsAll(view) ? [] : rounded());
      model.save_changes();
    }, SETTLED);
    return true;
  }

  const middleOf = (cell) => [rowOf(cell) + 0.5, colOf(cell) + 0.5];
  const isSeen = ([row, col]) => row > view.part[0] && row < view.part[1] && col > view.part[2] && col < view.part[3];

  // About what is chosen, where that is in sight.
  function zoom(by) {
    const [r0, r1, c0, c1] = view.part, cells = [walked ? cursor : -1, get("current")].filter(inside).map(middleOf);
    look(zoomedBy(view.part, by, cells.find(isSeen) ?? [(r0 + r1) / 2, (c0 + c1) / 2]));
  }

  // Points at a cell; −1: at none.
  function see(cell) {
    if (cell === view.seen) return;
    view.seen = cell;
    describe();
    mark();
    const step = rowOf(cell), unit = colOf(cell) - prompts(view);
    model.set("hovered", !inside(cell) || unit > step ? [] : unit === step ? [step] : [step, unit]);
    model.save_changes();
  }

  function pick(cell) {
    if (!inside(cell)) return;
    cursor = cell;
    model.set("picked", [cell, 0, moment()]);
    model.save_changes();
  }

  // Into sight, if it is not: the cell that is chosen, or where the step's own column begins.
  function follow() {
    const row = get("row"), column = get("column");
    if (row >= 0 && row < view.size.rows && svg) look(broughtIn(view.part, row, column >= 0 ? column : prompts(view) + row));
    mark();
  }

  function walk([down, across]) {
    const from = inside(cursor) ? cursor : inside(get("current")) ? get("current") : Math.max(0, get("row")) * view.size.cols;
    const row = Math.max(0, Math.min(view.size.rows - 1, rowOf(from) + down)), last = prompts(view) + row;
    const col = across === Infinity ? Math.max(0, last - 1) : Math.max(0, Math.min(view.size.cols - 1, colOf(from) + across));
    cursor = row * view.size.cols + col;
    walked = true;
    look(broughtIn(view.part, row, col));
    see(cursor);
  }

  const cellAt = (point) => (point ? Math.floor(point[0]) * view.size.cols + Math.floor(point[1]) : -1);
  const stop = watchGestures(holder, {
    at: (x, y) => (svg ? pointOf(view, svg, x, y) : null),
    zoom: (by, point) => look(zoomedBy(view.part, by, point)),
    pan: (dx, dy) => look(movedBy(view.part, (-dy * (view.part[1] - view.part[0])) / view.size.height, (-dx * (view.part[3] - view.part[2])) / view.size.width)),
    hover: (point) => { walked = false; see(cellAt(point)); },
    pick: (point) => pick(cellAt(point)),
  });
  watchKeys(holder, {
    walk,
    zoom,
    pan: (down, across) => look(movedBy(view.part, down * (view.part[1] - view.part[0]), across * (view.part[3] - view.part[2]))),
    all: () => look(wholeOf()),
    pick: () => pick(inside(cursor) ? cursor : get("current")),
  });
  holder.addEventListener("focusout", () => { walked = false; see(-1); });
  const sized = new ResizeObserver(() => { if (root.clientWidth && root.clientWidth !== drawnWide) draw(); });
  sized.observe(root);
  const end = listen(model, {
    "rows cols": draw,
    "at values controls show bound signed colours title": readCells,
    "row column current": follow,
    "current notes said told hint words": () => { if (!walked) cursor = -1; describe(); },
    sides: () => { if (svg && (view.size.bars > 0) !== (get("sides").length > 0)) draw(); else redraw(); },
    window: () => { if (svg && String(get("window")) !== String(rounded())) { takeWindow(); redraw(); } },
    large: () => larger.setAttribute("aria-pressed", String(get("large"))),
  });
  draw();
  return () => { sized.disconnect(); clearTimeout(timer); stop(); end(); root.remove(); };
}

export default { render };
