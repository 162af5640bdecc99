// What the model would answer if a trace were cut after each step: the answers as a band, under it
// where they are right with and without the heads, and the probability of the trace's own answer.
// Needs dom.js before it (../view_scripts.py).
//
// Reads: cuts (the last step before each cut; -1 before the first step), answers (texts), said (of a
//   cut: an index of answers), p_now, right, right_ref, writes (whether the step writes the answer),
//   curves [p, p without the heads, p without random heads] of the trace's answer (null: unknown),
//   answer (the trace's), decided (step; null), beyond (a remark), current (step), colours, empty. `version` is set last.
// Reports: picked [step, moment]; step -1: the cut before the first step. Sets current at once.
const BAND = 21, LINES = 12, CURVE = 46, FOOT = 16, LEFT = 38; // pixels
const NAMES = ["the model", "without the heads", "without random heads"];

function percent(p) {
  if (p === null || p === undefined) return "\u2013";
  return p > 0 && p < 0.0005 ? "under 0.1 %" : `${Number((100 * p).toPrecision(p < 0.995 ? 2 : 3))} %`;
}

// Cuts in a row of which `of` says the same: [first, one past the last].
function runs(n, of) {
  const found = [];
  for (let i = 0; i < n; i++) {
    if (i && of(i) === of(i - 1)) found.at(-1)[1] = i + 1;
    else found.push([i, i + 1]);
  }
  return found;
}

function render({ model, el }) {
  const get = (name) => model.get(name);
  const root = element("div", "airlens airlens-track", el);
  const key = element("div", "key", root);
  const holder = element("div", "holder", root);
  const readout = element("div", "readout", root);
  let svg = null, mark = null, width = 0, pitch = 1, hovered = -1;

  const x = (i) => LEFT + i * pitch;
  const place = () => (get("current") < 0 ? -1 : get("cuts").indexOf(get("current")));
  const name = (i) => (get("cuts")[i] < 0 ? "before the first step" : `after step ${get("cuts")[i]}`);

  function say(i) {
    const answer = get("answers")[get("said")[i]], curves = get("curves");
    const now = `${name(i)} it would answer \u201c${answer || "nothing"}\u201d (${get("right")[i] ? "right" : "wrong"}, ${percent(get("p_now")[i])})`;
    const own = NAMES.map((of, n) => (curves[n][i] === null ? "" : `${of} ${percent(curves[n][i])}`)).filter(Boolean).join(", ");
    return `${now[0].toUpperCase()}${now.slice(1)}; the trace\u2019s answer: ${own}${get("writes")[i] ? "; the step writes it" : ""}`;
  }

  function drawKey() {
    const [blue, orange, grey] = get("colours");
    key.replaceChildren();
    const head = element("span", "", key, `What it would answer after each step${get("beyond")}; the trace\u2019s answer: `);
    element("b", "", head, get("answer"));
    const legend = element("span", "legend", key);
    [blue, orange, grey].forEach((colour, n) => {
      if (get("curves")[n].every((p) => p === null)) return;
      const item = element("span", "", legend);
      element("i", n === 2 ? "dash" : "", item).style.color = colour;
      item.append(NAMES[n]);
    });
  }

  function drawBand(n) {
    const [blue, orange, grey] = get("colours"), said = get("said"), right = get("right");
    for (const [from, to] of runs(n, (i) => said[i])) {
      const wide = (to - from) * pitch, good = right[from];
      shape("rect", { x: x(from) + 0.5, y: 1, width: Math.max(0.5, wide - 1), height: BAND - 2, rx: 2, fill: good ? blue : grey, "fill-opacity": good ? 0.24 : 0.2 }, svg);
      const room = Math.floor((wide - 6) / 6.6), text = get("answers")[said[from]] || "\u2013";
      if (room < Math.min(3, text.length)) continue;
      const shown = text.length > room ? `${text.slice(0, room - 1)}\u2026` : text;
      shape("text", { x: x(from) + 4, y: BAND - 6 }, svg).textContent = shown;
    }
    [[right, blue], [get("right_ref"), orange]].forEach(([list, colour], row) => {
      for (const [from, to] of runs(n, (i) => list[i])) {
        if (list[from]) shape("rect", { x: x(from) + 0.5, y: BAND + 1 + 5 * row, width: Math.max(1, (to - from) * pitch - 1), height: 3.5, fill: colour }, svg);
      }
    });
    shape("text", { x: LEFT - 5, y: BAND + 8, "text-anchor": "end" }, svg).textContent = "right";
  }

  function drawCurves(n) {
    const top = BAND + LINES, [blue, orange, grey] = get("colours");
    const most = Math.max(1e-9, ...get("curves").flat().filter((p) => p !== null));
    const y = (p) => top + 3 + (CURVE - 6) * (1 - p / most);
    shape("line", { x1: LEFT, x2: x(n), y1: y(0), y2: y(0), stroke: "currentColor", "stroke-opacity": 0.35 }, svg);
    shape("text", { x: LEFT - 5, y: y(most) + 8, "text-anchor": "end" }, svg).textContent = percent(most).replace("under ", "<");
    shape("text", { x: LEFT - 5, y: y(0) + 1, "text-anchor": "end" }, svg).textContent = "0";
    [2, 1, 0].forEach((k) => {
      const points = get("curves")[k].map((p, i) => (p === null ? null : `${(x(i) + pitch / 2).toFixed(1)} ${y(p).toFixed(1)}`));
      if (!points.some(Boolean)) return;
      const d = points.map((point, i) => (point === null ? "" : (i && points[i - 1] !== null ? "L" : "M") + point)).join("");
      shape("path", { d, class: "curve", fill: "none", stroke: [blue, orange, grey][k], "stroke-width": 1.8, "stroke-linejoin": "round", ...(k === 2 ? { "stroke-dasharray": "4 3" } : {}) }, svg);
    });
  }

  function drawAxis(n) {
    const cuts = get("cuts"), few = every(pitch, 26), bottom = BAND + LINES + CURVE;
    cuts.forEach((step, i) => {
      if (step >= 0 && step % few === 0) shape("text", { x: x(i) + pitch / 2, y: bottom + FOOT - 4, "text-anchor": "middle" }, svg).textContent = step;
    });
    shape("text", { x: LEFT - 5, y: bottom + FOOT - 4, "text-anchor": "end" }, svg).textContent = "step";
    const decided = get("decided") === null ? -1 : cuts.indexOf(get("decided"));
    if (decided < 0) return;
    const left = x(decided) > width - 70;
    shape("line", { x1: x(decided), x2: x(decided), y1: 0, y2: bottom, stroke: "currentColor", "stroke-dasharray": "2 3" }, svg);
    shape("text", { x: x(decided) + (left ? -4 : 4), y: BAND + LINES + 12, "text-anchor": left ? "end" : "start", class: "title" }, svg).textContent = "decided";
  }

  function draw() {
    const n = get("cuts").length;
    width = root.clientWidth;
    holder.replaceChildren();
    svg = mark = null;
    key.hidden = !n;
    root.classList.toggle("none", !n);
    if (!n || !width) { readout.textContent = n ? "" : get("empty"); return; }
    pitch = (width - LEFT - 4) / n;
    const height = BAND + LINES + CURVE + FOOT;
    drawKey();
    svg = shape("svg", { width, height, viewBox: `0 0 ${width} ${height}`, tabindex: 0, role: "slider", "aria-orientation": "horizontal",
      "aria-label": "What the model would answer after each step", "aria-valuemin": get("cuts")[0], "aria-valuemax": get("cuts")[n - 1] });
    svg.dataset.lmSuppressShortcuts = "true";
    mark = shape("rect", { class: "mark", y: 0, height: BAND + LINES + CURVE, fill: "currentColor", "fill-opacity": 0.12, stroke: "currentColor" }, svg);
    drawBand(n);
    drawCurves(n);
    drawAxis(n);
    holder.appendChild(svg);
    show();
  }

  // The current cut, or the one pointed at.
  function show() {
    if (!svg) return;
    const at = place(), i = hovered >= 0 ? hovered : at;
    mark.setAttribute("visibility", i >= 0 ? "visible" : "hidden");
    mark.setAttribute("x", x(Math.max(i, 0)));
    mark.setAttribute("width", Math.max(2, pitch));
    readout.textContent = i >= 0 ? say(i) : "Click, or use the arrow keys, to go to a step.";
    svg.setAttribute("aria-valuenow", at < 0 ? get("cuts")[0] : get("current"));
    svg.setAttribute("aria-valuetext", at < 0 ? "no step chosen" : say(at));
  }

  function pick(i) {
    if (!(i >= 0 && i < get("cuts").length)) return;
    hovered = -1;
    model.set("current", get("cuts")[i]);
    model.set("picked", [get("cuts")[i], moment()]);
    model.save_changes();
  }

  const cutAt = (event) => {
    const i = Math.floor((event.clientX - svg.getBoundingClientRect().left - LEFT) / pitch);
    return i >= 0 && i < get("cuts").length ? i : -1;
  };

  holder.addEventListener("click", (event) => { if (svg) pick(cutAt(event)); });
  holder.addEventListener("mousemove", (event) => { const i = svg ? cutAt(event) : -1; if (i !== hovered) { hovered = i; show(); } });
  holder.addEventListener("mouseleave", () => { hovered = -1; show(); });
  holder.addEventListener("keydown", (event) => {
    const last = get("cuts").length - 1, at = place();
    const way = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 10, PageDown: -10 }[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (way) pick(Math.max(0, Math.min(last, Math.max(at, 0) + way)));
    else if (event.key === "Home" || event.key === "End") pick(event.key === "Home" ? 0 : last);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  const sized = new ResizeObserver(() => { if (root.clientWidth !== width) draw(); });
  sized.observe(root);
  const end = listen(model, { version: draw, current: show });
  draw();
  return () => { sized.disconnect(); end(); root.remove(); };
}

export default { render };
