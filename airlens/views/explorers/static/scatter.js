// Points that can be hovered, clicked and caught with a lasso; on a canvas, so that many are quick.
const LEFT = 58, RIGHT = 12, TOP = 10, BOTTOM = 40, HEIGHT = 340;

function ticks(low, high, wanted) {
  const rough = (high - low) / wanted || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough) ?? power;
  const found = [];
  for (let t = Math.ceil(low / step) * step; t <= high + step / 1e6; t += step) found.push(Number(t.toPrecision(6)));
  return found;
}

function inside(x, y, path) {
  let odd = false;
  for (let i = 0, j = path.length - 1; i < path.length; j = i++) {
    const [ax, ay] = path[i], [bx, by] = path[j];
    if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) odd = !odd;
  }
  return odd;
}

function extent(values) {
  let low = Infinity, high = -Infinity;
  for (const v of values) if (v !== null) { low = Math.min(low, v); high = Math.max(high, v); }
  if (!(low <= high)) return [0, 1];
  const room = 0.05 * (high - low || Math.abs(high) || 1);
  return [low - room, high + room];
}

function render({ model, el }) {
  const root = document.createElement("div");
  root.className = "airlens airlens-scatter";
  const key = document.createElement("div");
  key.className = "key";
  const canvas = document.createElement("canvas");
  canvas.setAttribute("role", "application");
  canvas.tabIndex = 0;
  const readout = document.createElement("div");
  readout.className = "readout";
  readout.setAttribute("aria-live", "polite");
  root.append(key, canvas, readout);
  el.appendChild(root);
  const get = (name) => model.get(name);
  let spots = [];
  let path = null;
  let hovered = -1;

  function drawKey() {
    key.replaceChildren();
    get("groups").forEach((name, i) => {
      const item = document.createElement("span");
      const swatch = shape("svg", { class: "mark", width: 14, height: 14, "aria-hidden": "true" }, item);
      shape("path", { d: markPath(i, 7, 7, 4.5), fill: get("palette")[i % get("palette").length] }, swatch);
      item.append(name);
      key.appendChild(item);
    });
    const note = document.createElement("span");
    note.className = "faint";
    note.textContent = get("legend");
    key.appendChild(note);
    canvas.setAttribute("aria-label", `${get("title")}. Arrow keys go from point to point, Enter picks.`);
  }

  function draw() {
    const width = root.clientWidth;
    if (!width) return; // not in the page yet, or hidden: it is drawn when it has a size
    const ratio = window.devicePixelRatio || 1;
    canvas.width = width * ratio;
    canvas.height = HEIGHT * ratio;
    canvas.style.height = `${HEIGHT}px`;
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    pen.clearRect(0, 0, width, HEIGHT);
    const style = getComputedStyle(root);
    const ink = style.color;
    const xs = get("x"), ys = get("y");
    const [x0, x1] = extent(xs), [y0, y1] = extent(ys);
    const px = (v) => LEFT + ((v - x0) / (x1 - x0)) * (width - LEFT - RIGHT);
    const py = (v) => HEIGHT - BOTTOM - ((v - y0) / (y1 - y0)) * (HEIGHT - TOP - BOTTOM);
    pen.font = `11px ${style.fontFamily}`;
    pen.fillStyle = ink;
    pen.strokeStyle = "rgba(128,134,142,0.28)";
    pen.lineWidth = 1;
    for (const t of ticks(x0, x1, 6)) {
      pen.beginPath(); pen.moveTo(px(t), TOP); pen.lineTo(px(t), HEIGHT - BOTTOM); pen.stroke();
      pen.textAlign = "center"; pen.fillText(String(t), px(t), HEIGHT - BOTTOM + 14);
    }
    for (const t of ticks(y0, y1, 5)) {
      pen.beginPath(); pen.moveTo(LEFT, py(t)); pen.lineTo(width - RIGHT, py(t)); pen.stroke();
      pen.textAlign = "right"; pen.fillText(String(t), LEFT - 6, py(t) + 4);
    }
    pen.textAlign = "center";
    pen.fillText(get("x_title"), (LEFT + width - RIGHT) / 2, HEIGHT - 6);
    pen.save();
    pen.translate(11, (TOP + HEIGHT - BOTTOM) / 2);
    pen.rotate(-Math.PI / 2);
    pen.fillText(get("y_title"), 0, 0);
    pen.restore();
    const chosen = new Set(get("chosen"));
    const caught = new Set(get("lasso"));
    const palette = get("palette"), group = get("group");
    spots = xs.map((x, i) => (x === null || ys[i] === null ? null : [px(x), py(ys[i])]));
    spots.forEach((spot, i) => {
      if (!spot) return;
      const colour = palette[group[i] % palette.length];
      pen.globalAlpha = caught.size && !caught.has(i) ? 0.25 : chosen.has(i) ? 0.95 : 0.7;
      const mark = new Path2D(markPath(group[i] ?? 0, ...spot, chosen.has(i) ? 5 : 4));
      if (chosen.has(i)) { pen.fillStyle = colour; pen.fill(mark); }
      pen.strokeStyle = colour; pen.lineWidth = 1.5; pen.stroke(mark);
      if (i === get("current") || i === hovered) {
        pen.globalAlpha = 1; pen.beginPath(); pen.arc(spot[0], spot[1], 8, 0, 2 * Math.PI);
        pen.strokeStyle = ink; pen.lineWidth = 2; pen.stroke();
      }
    });
    pen.globalAlpha = 1;
    if (path && path.length > 1) {
      pen.beginPath(); path.forEach(([x, y], i) => (i ? pen.lineTo(x, y) : pen.moveTo(x, y)));
      pen.closePath(); pen.strokeStyle = ink; pen.lineWidth = 1.2; pen.setLineDash([4, 3]);
      pen.stroke(); pen.setLineDash([]);
    }
  }

  function nearest(x, y) {
    let best = -1, least = 12 ** 2;
    spots.forEach((spot, i) => {
      if (!spot) return;
      const far = (spot[0] - x) ** 2 + (spot[1] - y) ** 2;
      if (far < least) { least = far; best = i; }
    });
    return best;
  }

  const place = (event) => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
  const onDown = (event) => { path = [place(event)]; canvas.setPointerCapture(event.pointerId); };
  const point = (found) => {
    hovered = found;
    readout.textContent = found >= 0 ? get("notes")[found] : "";
    draw();
  };
  const onMove = (event) => {
    const spot = place(event);
    if (path) path.push(spot);
    const found = path ? -1 : nearest(...spot);
    if (path || found !== hovered) point(found);
  };
  const onLeave = () => { if (!path) point(-1); };
  const pick = (found) => { model.set("picked", [found, moment()]); model.save_changes(); };
  const onKey = (event) => {
    const way = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
    const order = spots.flatMap((spot, i) => (spot ? [i] : [])).sort((a, b) => spots[a][0] - spots[b][0]);
    if (way && order.length) {
      const at = order.indexOf(hovered);
      point(order[at < 0 ? 0 : Math.max(0, Math.min(order.length - 1, at + way))]);
    } else if (event.key === "Enter" && hovered >= 0) pick(hovered);
    else if (event.key === "Escape") { model.set("lasso", []); model.save_changes(); }
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  const onUp = (event) => {
    if (!path) return;
    const drawn = path;
    path = null;
    const far = Math.max(...drawn.map(([x, y]) => Math.abs(x - drawn[0][0]) + Math.abs(y - drawn[0][1])));
    const found = far < 6 ? nearest(...place(event)) : -1;
    if (found >= 0) pick(found);
    else {
      model.set("lasso", far < 6 ? [] : spots.flatMap((spot, i) => (spot && inside(spot[0], spot[1], drawn) ? [i] : [])));
      model.save_changes();
    }
    draw();
  };
  const onCancel = () => { path = null; draw(); };
  canvas.addEventListener("pointerdown", onDown);
  canvas.addEventListener("pointermove", onMove);
  canvas.addEventListener("pointerup", onUp);
  canvas.addEventListener("pointercancel", onCancel);
  canvas.addEventListener("pointerleave", onLeave);
  canvas.addEventListener("keydown", onKey);
  const watcher = new ResizeObserver(() => draw());
  watcher.observe(root);
  // A canvas does not follow a change of theme by itself.
  const themes = new MutationObserver(() => requestAnimationFrame(() => requestAnimationFrame(draw)));
  themes.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-name", "class"] });
  const all = () => { drawKey(); draw(); };
  const look = ["chosen", "current", "lasso"];
  model.on("change:version", all);
  model.on("change:legend", drawKey);
  for (const name of look) model.on(`change:${name}`, draw);
  all();
  return () => {
    watcher.disconnect();
    themes.disconnect();
    model.off("change:version", all);
    model.off("change:legend", drawKey);
    for (const name of look) model.off(`change:${name}`, draw);
    root.remove();
  };
}

export default { render };
