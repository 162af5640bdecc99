// A map of cells that can be clicked or walked with the arrow keys: layers x heads, heads x steps.
const SVG = "http://www.w3.org/2000/svg";

function make(tag, attributes, parent) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (parent) parent.appendChild(node);
  return node;
}

// Label so few columns that their names do not touch.
function every(room) {
  return [1, 2, 5, 10, 20, 50, 100, 200].find((step) => step * room >= 22) ?? 500;
}

function render({ model, el }) {
  const root = document.createElement("div");
  root.className = "airlens airlens-grid";
  const heading = document.createElement("div");
  heading.className = "key";
  const holder = document.createElement("div");
  const readout = document.createElement("div");
  readout.className = "readout";
  readout.setAttribute("aria-live", "polite");
  root.append(heading, holder, readout);
  el.appendChild(root);

  let cells = [];
  let svg = null;
  let cursor = 0;
  let count = 0;
  const get = (name) => model.get(name);

  const paint = (value) => {
    const [cool, warm] = get("colours");
    if (value === null || value === undefined) return ["none", 0];
    const share = Math.min(1, Math.abs(value) / (get("bound") || 1));
    const signed = get("signed");
    return [signed && value > 0 ? warm : cool, 0.06 + 0.94 * (signed ? share : Math.max(0, Math.min(1, value / (get("bound") || 1))))];
  };

  function describe(index) {
    readout.textContent = index >= 0 && index < cells.length ? get("notes")[index] ?? "" : get("hint");
  }

  function recolour() {
    const values = get("values");
    const marked = new Set(get("marked"));
    const current = get("current");
    const column = get("column");
    const width = get("cols").length;
    const top = cells.length > 0 ? svg.querySelector(".outlines") : null;
    if (!top) return;
    top.replaceChildren();
    cells.forEach((cell, index) => {
      const [colour, opacity] = paint(values[index]);
      cell.setAttribute("fill", colour === "none" ? "transparent" : colour);
      cell.setAttribute("fill-opacity", opacity.toFixed(3));
      const box = { x: +cell.getAttribute("x"), y: +cell.getAttribute("y"),
        w: +cell.getAttribute("width"), h: +cell.getAttribute("height") };
      const outline = (stroke, size) => make("rect", { x: box.x, y: box.y, width: box.w,
        height: box.h, fill: "none", stroke, "stroke-width": size, "pointer-events": "none" }, top);
      if (marked.has(index)) outline(get("colours")[1], 2).setAttribute("class", "marked");
      if (column >= 0 && index % width === column) outline("currentColor", 1);
      if (index === current) outline("currentColor", 3).setAttribute("class", "now");
    });
  }

  function draw() {
    const rows = get("rows");
    const cols = get("cols");
    holder.replaceChildren();
    heading.textContent = get("title");
    root.dataset.columns = cols.length;
    cells = [];
    if (!rows.length || !cols.length) { describe(-1); return; }
    const left = 16 + 7 * Math.max(...rows.map((name) => name.length)) + (get("row_title") ? 14 : 0);
    const w = Math.max(7, Math.min(34, Math.floor(620 / cols.length)));
    const h = Math.max(9, Math.min(19, Math.floor(460 / rows.length)));
    const size = [left + w * cols.length + 8, h * rows.length + 36];
    svg = make("svg", { viewBox: `0 0 ${size[0]} ${size[1]}`, tabindex: 0, role: "application",
      "aria-label": `${get("title")}. Arrow keys move, Enter picks, Space adds or removes.` });
    svg.style.width = `min(100%, ${size[0]}px)`;
    const at = (row) => (get("upward") ? rows.length - 1 - row : row) * h + 2;
    const some = Math.ceil(13 / h);
    const few = every(w);
    rows.forEach((name, row) => {
      if (row % some === 0) make("text", { x: left - 6, y: at(row) + h / 2 + 4, "text-anchor": "end", class: "row" }, svg).textContent = name;
      cols.forEach((_, col) => {
        const cell = make("rect", { class: "cell", x: left + col * w + 0.75, y: at(row) + 0.75,
          width: w - 1.5, height: h - 1.5, rx: 1, "data-index": row * cols.length + col }, svg);
        cells[row * cols.length + col] = cell;
      });
    });
    cols.forEach((name, col) => {
      if (col % few === 0) make("text", { x: left + (col + 0.5) * w, y: h * rows.length + 16, "text-anchor": "middle" }, svg).textContent = name;
    });
    make("text", { x: left + (cols.length * w) / 2, y: size[1] - 3, "text-anchor": "middle" }, svg).textContent = get("col_title");
    const middle = (rows.length * h) / 2;
    make("text", { x: 10, y: middle, "text-anchor": "middle", transform: `rotate(-90 10 ${middle})` }, svg).textContent = get("row_title");
    make("g", { class: "outlines" }, svg);
    holder.appendChild(svg);
    recolour();
    describe(get("current"));
  }

  function pick(index, toggle) {
    if (!(index >= 0 && index < cells.length)) return;
    cursor = index;
    describe(index);
    model.set("picked", [index, toggle ? 1 : 0, ++count]);
    model.save_changes();
  }

  const indexOf = (event) => {
    const value = event.target.getAttribute && event.target.getAttribute("data-index");
    return value === null || value === undefined ? -1 : Number(value);
  };
  const onClick = (event) => pick(indexOf(event), event.shiftKey);
  const onMove = (event) => { const index = indexOf(event); if (index >= 0) describe(index); };
  const onLeave = () => describe(get("current"));
  const onKey = (event) => {
    const width = get("cols").length;
    const up = get("upward") ? width : -width;
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: up, ArrowDown: -up }[event.key];
    if (step !== undefined && cells[cursor + step]) { cursor += step; describe(cursor); }
    else if (event.key === "Enter") pick(cursor, false);
    else if (event.key === " ") pick(cursor, true);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  holder.addEventListener("click", onClick);
  holder.addEventListener("mousemove", onMove);
  holder.addEventListener("mouseleave", onLeave);
  holder.addEventListener("keydown", onKey);
  const shape = ["rows", "cols", "title", "upward"];
  const look = ["values", "marked", "current", "column", "bound", "signed", "colours"];
  for (const name of shape) model.on(`change:${name}`, draw);
  for (const name of look) model.on(`change:${name}`, recolour);
  const onCurrent = () => { cursor = Math.max(0, get("current")); describe(get("current")); };
  model.on("change:current", onCurrent);
  model.on("change:notes", onCurrent);
  model.on("change:hint", onCurrent);
  draw();
  return () => {
    for (const name of shape) model.off(`change:${name}`, draw);
    for (const name of look) model.off(`change:${name}`, recolour);
    for (const name of ["current", "notes", "hint"]) model.off(`change:${name}`, onCurrent);
    root.remove();
  };
}

export default { render };
