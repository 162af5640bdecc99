// A trace from top to bottom as a line of units, and an arc from each step to the units it fetches
// from: the critical heads' on the left, random heads' on the right. Beside a text (both in an element
// .airlens-beside) it is level with the text's rows and moves with them; alone it is whole. Needs
// dom.js, units.js and beside.js before it (../view_scripts.py).
//
// Reads: units (in the order of the text; those of the prompt are negative), pairs [[step],
//   [source unit], [value], [value of random heads]], measure (what a value is), threshold,
//   strongest (sources a step), show ("critical", "control" or "both"), current (step), colours,
//   hint, empty. `version` is set last and draws all of it anew.
// Reports: picked [unit, moment] when somebody picks a step or a unit of the prompt; sets current at once.
const TOP = 20, BOTTOM = 6, TALL = 560, GAP = 5; // pixels; GAP: between the prompt and the steps
const QUIET = 100; // milliseconds without a change, after which rows that grew are read anew
const DRAWN = 200; // arcs of the critical heads that are drawn while no step is chosen

function render({ model, el }) {
  const get = (name) => model.get(name);
  const root = element("div", "airlens airlens-arcs", el);
  const holder = element("div", "", root);
  const readout = element("div", "readout", root);
  readout.setAttribute("aria-live", "polite");
  let svg = null, lines = null, dots = null, arcs = [], drawn = new Set(), hovered = null, lowest = 0;
  let pitch = 12, width = 0, axis = 0, dottedAt = 0;

  let scroll = null, rows = new Map(), drawnTall = 0, group = null; // of the text beside

  // Where the rows of the text beside are, in its own height; none where there is no such text.
  function readRows() {
    const found = textBeside(root);
    if (found !== scroll) {
      scroll?.removeEventListener("scroll", onScroll);
      scroll = found;
      scroll?.addEventListener("scroll", onScroll);
      if (scroll) sized.observe(scroll);
    }
    rows = rowsOf(scroll, get("units"));
    drawnTall = scroll?.scrollHeight ?? 0;
  }

  let timer = 0;
  function onScroll() {
    if (scroll.scrollHeight !== drawnTall || !rows.size) { // rows that came into view grew
      clearTimeout(timer);
      timer = setTimeout(redraw, QUIET);
    }
    group?.setAttribute("transform", shift());
    if (group && Math.abs(scroll.scrollTop - dottedAt) > scroll.clientHeight) { drawDots(); mark(); }
  }

  const shift = () => `translate(0 ${TOP - scroll.scrollTop})`;
  const place = (unit) => rows.get(unit) ?? TOP + (unit - lowest + 0.5) * pitch + (unit >= 0 && lowest < 0 ? GAP : 0);
  const unitAt = (event) => {
    const y = event.clientY - svg.getBoundingClientRect().top + (rows.size ? scroll.scrollTop - TOP : 0);
    const units = get("units");
    const nearest = (found, unit) => (Math.abs(place(unit) - y) < Math.abs(place(found) - y) ? unit : found);
    return !rows.size && y < TOP / 2 ? null : units.reduce(nearest, units[0]);
  };

  function findArcs() {
    const show = get("show");
    lowest = Math.min(0, get("units")[0] ?? 0);
    arcs = arcsOf(get("pairs"), { show, threshold: get("threshold"), most: get("strongest") });
    // Random heads are drawn where they are no weaker.
    const ranked = (control) => arcs.filter((arc) => arc.control === control).sort((a, b) => b.value - a.value).slice(0, DRAWN);
    const first = ranked(show === "control"), least = first.at(-1)?.value ?? 0;
    drawn = new Set([...first, ...ranked(show !== "control").filter((arc) => arc.value >= least)]);
  }

  function drawArc({ step, unit, control, strength }) {
    const [, warm, grey] = get("colours"), [y0, y1] = [place(unit), place(step)];
    const side = control && get("show") === "both" ? 1 : -1, room = (side < 0 ? axis : width - axis) - 8;
    const reach = (axis + side * Math.min(room, 8 + room * Math.sqrt(Math.min(1, (y1 - y0) / (rows.size ? TALL : pitch * get("units").length))))).toFixed(1);
    return shape("path", { d: `M${axis} ${y1.toFixed(1)}C${reach} ${y1.toFixed(1)} ${reach} ${y0.toFixed(1)} ${axis} ${y0.toFixed(1)}`,
      fill: "none", stroke: control ? grey : warm, "stroke-width": (0.8 + 3 * strength).toFixed(2), class: control ? "arc control" : "arc" }, lines);
  }

  // Of a long text only those near its view.
  function drawDots() {
    const level = rows.size > 0, numbered = get("show") !== "both", few = Math.max(1, Math.ceil(13 / pitch / 5) * (pitch < 13 ? 5 : 1));
    dottedAt = level ? scroll.scrollTop : 0;
    const room = level ? scroll.clientHeight : 0; // asked once: each answer lays out what is drawn so far
    const near = (unit) => !level || Math.abs(place(unit) - dottedAt - room / 2) < 2 * room;
    dots.replaceChildren();
    for (const unit of get("units")) {
      if (!near(unit)) continue;
      shape("circle", { cx: axis, cy: place(unit), r: Math.max(1.2, Math.min(3.5, pitch / 3)), class: unit < 0 ? "unit prompt" : "unit", "data-unit": unit }, dots);
      if (unit >= 0 && (level || unit % few === 0) && numbered) shape("text", { x: axis + 8, y: place(unit) + 4, class: "number" }, dots).textContent = unit;
    }
    if (lowest < 0 && numbered && near(lowest)) shape("text", { x: axis + 8, y: place(lowest) + 4, class: "number" }, dots).textContent = "prompt";
  }

  function redraw() {
    const units = get("units");
    width = root.clientWidth;
    holder.replaceChildren();
    svg = group = null;
    holder.style.paddingTop = "";
    if (!units.length || !width) { holder.textContent = units.length ? "" : get("empty"); describe(); return; }
    pitch = Math.min(26, TALL / units.length);
    readRows();
    const level = rows.size > 0, show = get("show");
    const height = level ? TOP + scroll.clientHeight : TOP + pitch * units.length + GAP + BOTTOM;
    if (level) holder.style.paddingTop = `${Math.max(0, scroll.getBoundingClientRect().top - holder.getBoundingClientRect().top - TOP)}px`;
    axis = Math.round(show === "both" ? width / 2 : width - 54);
    svg = shape("svg", { width, height, tabindex: 0, role: "application", "aria-label": `Sources of each step, ${get("measure")}. Up and down go from step to step.` });
    svg.dataset.lmSuppressShortcuts = "true";
    svg.style.display = "block";
    const title = (x, anchor, text) => { shape("text", { x, y: 11, "text-anchor": anchor, class: "title" }, svg).textContent = text; };
    group = shape("g", level ? { transform: shift() } : {}, svg);
    lines = shape("g", {}, group);
    dots = shape("g", {}, group);
    for (const arc of arcs) arc.path = null;
    drawDots();
    title(axis - 6, "end", show === "control" ? "random heads" : show === "both" ? "critical" : "critical heads");
    if (show === "both") title(axis + 6, "start", "random");
    holder.appendChild(svg);
    mark();
  }

  function anew() {
    findArcs();
    redraw();
  }

  // Faint where another step is chosen or pointed at.
  function mark() {
    if (!svg) return;
    const now = hovered ?? (get("current") >= 0 ? get("current") : null);
    for (const arc of arcs) {
      const { step, unit, strength } = arc, mine = now === null || step === now || unit === now;
      const opacity = step === now ? 0.95 : now !== null && mine ? 0.45 : !drawn.has(arc) ? 0 : now === null ? 0.15 + 0.75 * strength : 0.07;
      if (!arc.path && !opacity) continue; // most of a long trace
      arc.path ??= drawArc(arc);
      arc.path.setAttribute("stroke-opacity", opacity.toFixed(2));
      arc.path.classList.toggle("now", now !== null && step === now);
    }
    for (const node of svg.querySelectorAll(".unit")) node.classList.toggle("now", Number(node.dataset.unit) === now);
    describe();
  }

  function describe() {
    const now = hovered ?? (get("current") >= 0 ? get("current") : null);
    if (now === null || !svg) { readout.textContent = svg ? get("hint") : ""; return; }
    const list = (control, from, many = 3) => arcs.filter((arc) => arc.control === control && (from ? arc.step : arc.unit) === now)
      .map((arc) => `${unitName(from ? arc.unit : arc.step, lowest)} ${short(arc.value)}`).slice(0, many).join(", ");
    const parts = [["from", list(false, true)], ["random heads from", list(true, true, 1)], ["used by", list(false, false)]]
      .filter(([, words]) => words).map((part) => part.join(" "));
    readout.textContent = `${unitName(now, lowest)}: ${parts.join("; ") || "no source above the threshold"}`;
  }

  function pick(step) {
    if (!Number.isFinite(step) || step === null) return;
    model.set("current", Math.max(step, -1));
    model.set("picked", [step, moment()]);
    model.save_changes();
  }

  function hover(unit) {
    if (unit === hovered) return;
    hovered = unit;
    mark();
  }

  holder.addEventListener("mousemove", (event) => hover(svg ? unitAt(event) : null));
  holder.addEventListener("mouseleave", () => hover(null));
  holder.addEventListener("click", (event) => { if (svg) pick(unitAt(event)); });
  holder.addEventListener("keydown", (event) => {
    const way = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1 }[event.key];
    if (!way) return;
    const next = get("current") + way;
    if (get("units").includes(next)) pick(next);
    event.preventDefault();
    event.stopPropagation();
  });
  let sizes = ""; // of what is drawn: a changed height asks for nothing
  const sized = new ResizeObserver(() => {
    const now = `${root.clientWidth} ${scroll?.clientHeight} ${scroll?.clientWidth} ${scroll?.scrollHeight}`;
    if (now !== sizes) { sizes = now; redraw(); }
  });
  sized.observe(root);
  const end = listen(model, { "version pairs threshold strongest show measure": anew, current: mark });
  anew();
  return () => { clearTimeout(timer); sized.disconnect(); scroll?.removeEventListener("scroll", onScroll); end(); root.remove(); };
}

export default { render };
