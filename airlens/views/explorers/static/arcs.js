// A trace from top to bottom as a line of units, and an arc from each step to the units it fetches
// from: the critical heads' on the left, random heads' on the right. Beside a text (both in an element
// .airlens-beside) it is level with the text's rows and moves with them; alone it is whole. Needs
// dom.js and units.js before it (../view_scripts.py).
//
// Reads: units (in the order of the text; those of the prompt are negative), pairs [[step],
//   [source unit], [value], [value of random heads]], measure (what a value is), threshold,
//   strongest (sources a step), show ("critical", "control" or "both"), current (step), colours,
//   hint, empty. `version` is set last and draws all of it anew.
// Reports: picked [unit, moment] when somebody picks a step or a unit of the prompt; sets current at once.
const TOP = 20, BOTTOM = 6, TALL = 560, GAP = 5; // pixels; GAP: between the prompt and the steps
const DRAWN = 200; // arcs of the critical heads that are drawn while no step is chosen

function render({ model, el }) {
  const get = (name) => model.get(name);
  const root = element("div", "airlens airlens-arcs", el);
  const holder = element("div", "", root);
  const readout = element("div", "readout", root);
  readout.setAttribute("aria-live", "polite");
  let svg = null, arcs = [], least = 0, hovered = null, lowest = 0, pitch = 12;

  let scroll = null, rows = new Map(), drawnTall = 0, group = null; // of the text beside

  // Where the rows of the text beside are, in its own height; none where there is no such text.
  function readRows() {
    const found = root.closest(".airlens-beside")?.querySelector(".airlens-text .scroll") ?? null;
    if (found !== scroll) {
      scroll?.removeEventListener("scroll", onScroll);
      scroll = found;
      scroll?.addEventListener("scroll", onScroll);
      if (scroll) sized.observe(scroll);
    }
    rows = new Map();
    for (const row of scroll?.querySelectorAll(".step") ?? []) {
      const unit = Number(row.dataset.step);
      if (!rows.has(unit)) rows.set(unit, row.offsetTop + Math.min(row.offsetHeight, 40) / 2);
    }
    if (!get("units").every((unit) => rows.has(unit))) rows = new Map(); // another trace's text
    drawnTall = scroll?.scrollHeight ?? 0;
  }

  function onScroll() {
    if (scroll.scrollHeight !== drawnTall || !rows.size) redraw(); // rows that came into view grew
    else group?.setAttribute("transform", shift());
  }

  const shift = () => `translate(0 ${TOP - scroll.scrollTop})`;
  const place = (unit) => rows.get(unit) ?? TOP + (unit - lowest + 0.5) * pitch + (unit >= 0 && lowest < 0 ? GAP : 0);
  const unitAt = (event) => {
    const y = event.clientY - svg.getBoundingClientRect().top + (rows.size ? scroll.scrollTop - TOP : 0);
    const units = get("units");
    const nearest = (found, unit) => (Math.abs(place(unit) - y) < Math.abs(place(found) - y) ? unit : found);
    return !rows.size && y < TOP / 2 ? null : units.reduce(nearest, units[0]);
  };

  function drawArcs(width, axis) {
    const [, warm, grey] = get("colours"), show = get("show");
    const sets = [[false, warm, show === "both" || show === "critical"], [true, grey, show === "both" || show === "control"]];
    const bound = Math.max(1e-9, ...(get("pairs")[2] ?? []).filter((value) => value !== null));
    for (const [control, colour, wanted] of sets) {
      if (!wanted) continue;
      const found = strongest(get("pairs"), { threshold: get("threshold"), most: get("strongest"), control });
      const side = control && show === "both" ? 1 : -1, room = (side < 0 ? axis : width - axis) - 8;
      for (const [step, sources] of found) for (const { unit, value } of sources) {
        const [y0, y1] = [place(unit), place(step)];
        const reach = axis + side * Math.min(room, 8 + room * Math.sqrt(Math.min(1, (y1 - y0) / (rows.size ? TALL : pitch * get("units").length))));
        const strength = Math.min(1, value / bound);
        const path = shape("path", { d: `M${axis} ${y1.toFixed(1)}C${reach.toFixed(1)} ${y1.toFixed(1)} ${reach.toFixed(1)} ${y0.toFixed(1)} ${axis} ${y0.toFixed(1)}`,
          fill: "none", stroke: colour, "stroke-width": (0.8 + 3 * strength).toFixed(2), class: control ? "arc control" : "arc" }, group);
        arcs.push({ path, step, unit, value, control, strength });
      }
    }
    // Random heads are drawn where they are no weaker.
    const values = arcs.filter((arc) => arc.control === (show === "control")).map((arc) => arc.value).sort((a, b) => b - a);
    least = values[Math.min(values.length, DRAWN) - 1] ?? 0;
  }

  function redraw() {
    const width = root.clientWidth, units = get("units");
    holder.replaceChildren();
    arcs = [];
    svg = group = null;
    holder.style.paddingTop = "";
    if (!units.length || !width) { holder.textContent = units.length ? "" : get("empty"); describe(); return; }
    lowest = Math.min(0, units[0]);
    pitch = Math.min(26, TALL / units.length);
    readRows();
    const level = rows.size > 0, show = get("show");
    const height = level ? TOP + scroll.clientHeight : TOP + pitch * units.length + GAP + BOTTOM;
    if (level) holder.style.paddingTop = `${Math.max(0, scroll.getBoundingClientRect().top - holder.getBoundingClientRect().top - TOP)}px`;
    const axis = Math.round(show === "both" ? width / 2 : width - 54);
    svg = shape("svg", { width, height, tabindex: 0, role: "application", "aria-label": `Sources of each step, ${get("measure")}. Up and down go from step to step.` });
    svg.dataset.lmSuppressShortcuts = "true";
    svg.style.display = "block";
    const title = (x, anchor, text) => { shape("text", { x, y: 11, "text-anchor": anchor, class: "title" }, svg).textContent = text; };
    group = shape("g", level ? { transform: shift() } : {}, svg);
    drawArcs(width, axis);
    const few = Math.max(1, Math.ceil(13 / pitch / 5) * (pitch < 13 ? 5 : 1));
    for (const unit of units) {
      shape("circle", { cx: axis, cy: place(unit), r: Math.max(1.2, Math.min(3.5, pitch / 3)), class: unit < 0 ? "unit prompt" : "unit", "data-unit": unit }, group);
      if (unit >= 0 && (level || unit % few === 0) && show !== "both") shape("text", { x: axis + 8, y: place(unit) + 4, class: "number" }, group).textContent = unit;
    }
    if (lowest < 0 && show !== "both") shape("text", { x: axis + 8, y: place(lowest) + 4, class: "number" }, group).textContent = "prompt";
    title(axis - 6, "end", show === "control" ? "random heads" : show === "both" ? "critical" : "critical heads");
    if (show === "both") title(axis + 6, "start", "random");
    holder.appendChild(svg);
    mark();
  }

  // Faint where another step is chosen or pointed at.
  function mark() {
    if (!svg) return;
    const now = hovered ?? (get("current") >= 0 ? get("current") : null);
    for (const { path, step, unit, value, strength } of arcs) {
      const mine = now === null || step === now || unit === now;
      path.setAttribute("stroke-opacity", (step === now ? 0.95 : now !== null && mine ? 0.45 : value < least ? 0 : now === null ? 0.15 + 0.75 * strength : 0.07).toFixed(2));
      path.classList.toggle("now", now !== null && step === now);
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
  let width = ""; // of what is drawn: a changed height asks for nothing
  const sized = new ResizeObserver(() => {
    const now = `${root.clientWidth} ${scroll?.clientHeight} ${scroll?.clientWidth} ${scroll?.scrollHeight}`;
    if (now !== width) { width = now; redraw(); }
  });
  sized.observe(root);
  const end = listen(model, { "version pairs threshold strongest show measure": redraw, current: mark });
  redraw();
  return () => { sized.disconnect(); scroll?.removeEventListener("scroll", onScroll); end(); root.remove(); };
}

export default { render };
