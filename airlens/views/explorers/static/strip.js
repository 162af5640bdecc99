// Put before text.js (see ../view_scripts.py): a strip beside the text that shows the whole trace: the AIS
// of each step, what it adds to the answer where that is known, and which part of the text is in view.
// Needs dom.js and sidebars.js before it.
const LANE = 30, LANES_TOP = 14, FEWEST = 12; // pixels, pixels, steps
const GAIN = "gain, nats"; // of the numbers of a step: what it adds to the answer

// `rowOf(unit)`: its first row in the text; pick(step), say(words) and rest() are the text's.
function makeStrip(parent, scroll, { rowOf, pick, say, rest }) {
  const holder = element("div", "strip", parent);
  let svg = null, view = null, mark = null, under = null, units = [], sides = [], gains = null, colours = [], current = -1;
  let tall = 1, wide = LANE, dragged = false, start = null, asked = 0;

  const pitch = () => (tall - LANES_TOP) / Math.max(1, units.length);
  const yOf = (place) => LANES_TOP + place * pitch();
  const placeOf = (unit) => units.indexOf(unit);
  const clamped = (place) => Math.max(0, Math.min(units.length - 1, place));

  function drawGains() {
    const known = units.map((step, i) => [i, gains?.[step] ?? null]).filter(([, gain]) => gain !== null), sizes = known.map(([, gain]) => Math.abs(gain)).sort((a, b) => a - b);
    const most = sizes[Math.floor(0.98 * (sizes.length - 1))] || 1, middle = LANE + 6 + LANE / 2, [cool, warm] = colours;
    const bars = (sign) => known.filter(([, gain]) => Math.sign(gain) === sign).map(([i, gain]) => {
      const long = (Math.min(1, Math.abs(gain) / most) * LANE) / 2;
      return [middle - (sign < 0 ? long : 0), yOf(i + 0.5), long];
    });
    barPath(svg, bars(1), Math.max(1, 0.7 * pitch()), warm);
    barPath(svg, bars(-1), Math.max(1, 0.7 * pitch()), cool);
    shape("path", { d: `M${middle} ${LANES_TOP}V${tall}`, stroke: "currentColor", "stroke-opacity": 0.35 }, svg);
  }

  function redraw() {
    svg?.remove();
    svg = null;
    tall = scroll.clientHeight;
    wide = gains ? 2 * LANE + 8 : LANE + 4;
    holder.hidden = sides.filter(({ step }) => step >= 0).length < FEWEST;
    if (holder.hidden || !tall) return;
    svg = shape("svg", { width: wide, height: tall, tabindex: 0, role: "slider", "aria-orientation": "vertical", "aria-valuemin": 0, "aria-valuemax": units.at(-1),
      "aria-label": `The whole trace, AIS of each step${gains ? " and what it adds to the answer" : ""}; the arrow keys go from step to step` }, holder);
    svg.dataset.lmSuppressShortcuts = "true";
    ["AIS", ...(gains ? ["gain"] : [])].forEach((name, n) => { shape("text", { x: 1 + n * (LANE + 6), y: 10 }, svg).textContent = name; });
    view = shape("rect", { class: "view", x: 0.5, width: wide - 1, fill: "currentColor", "fill-opacity": 0.1, stroke: "currentColor", "stroke-opacity": 0.6 }, svg);
    const prompt = units.filter((unit) => unit < 0).length;
    if (prompt) shape("path", { d: `M0 ${yOf(prompt).toFixed(1)}h${wide}`, stroke: "currentColor", "stroke-opacity": 0.35 }, svg);
    aisBars(svg, sides.filter(({ step }) => step >= 0), { x: 1, y: (step) => yOf(placeOf(step) + 0.5), long: LANE - 2, thick: Math.max(1, 0.7 * pitch()), colours });
    if (gains) drawGains();
    under = shape("path", { class: "under", stroke: "currentColor", "stroke-dasharray": "2 2" }, svg);
    mark = shape("rect", { class: "mark", x: 0, width: wide, fill: colours[0], "fill-opacity": 0.25, stroke: colours[0], "stroke-width": 1.5 }, svg);
    showView();
    showMark();
  }

  // Which units the text shows: found between its rows, which are in order.
  function unitAt(y) {
    let low = 0, high = units.length - 1;
    while (low < high) {
      const half = Math.ceil((low + high) / 2);
      if ((rowOf(units[half])?.offsetTop ?? 0) <= y) low = half; else high = half - 1;
    }
    const row = rowOf(units[low]);
    return low + Math.max(0, Math.min(1, (y - (row?.offsetTop ?? 0)) / (row?.offsetHeight || 1)));
  }

  function showView() {
    asked = 0;
    if (!svg) return;
    const [from, to] = [scroll.scrollTop, scroll.scrollTop + scroll.clientHeight].map(unitAt);
    view.setAttribute("y", yOf(from).toFixed(1));
    view.setAttribute("height", Math.max(3, (to - from) * pitch()).toFixed(1));
  }

  function showMark() {
    if (!svg) return;
    const place = placeOf(current), known = current >= 0 && place >= 0;
    mark.setAttribute("visibility", known ? "visible" : "hidden");
    if (known) mark.setAttribute("y", yOf(place).toFixed(1));
    mark.setAttribute("height", Math.max(2, pitch()).toFixed(1));
    svg.setAttribute("aria-valuenow", Math.max(0, current));
    svg.setAttribute("aria-valuetext", known ? wordsOf(place) : "no step chosen");
  }

  function wordsOf(place) {
    const unit = units[place], side = sides.find(({ step }) => step === unit), gain = gains?.[unit];
    return (side?.aria ?? "") + (gain === undefined || gain === null ? "" : `, gain ${short(gain, 3)} nats`);
  }

  // The step there; where steps are thinner than a finger is sure, the strongest of those around.
  function stepAt(y) {
    const at = clamped(Math.floor((y - LANES_TOP) / pitch())), reach = Math.floor(2 / pitch());
    let best = at;
    for (let i = clamped(at - reach); i <= clamped(at + reach); i++) {
      const share = (place) => sides.find(({ step }) => step === units[place])?.share ?? 0;
      if (share(i) > share(best)) best = i;
    }
    return best;
  }

  function scrollTo(y) {
    const at = (y - LANES_TOP) / pitch(), place = clamped(Math.floor(at)), row = rowOf(units[place]);
    if (row) scroll.scrollTop = row.offsetTop + Math.max(0, Math.min(1, at - place)) * row.offsetHeight - scroll.clientHeight / 2;
  }

  const yUnder = (event) => event.clientY - svg.getBoundingClientRect().top;

  function point(place) {
    under.setAttribute("d", place < 0 ? "M0 0" : `M0 ${yOf(place + 0.5).toFixed(1)}h${wide}`);
    if (place < 0) rest(); else say(wordsOf(place));
  }

  function choose(place) {
    if (units[place] >= 0) pick(units[place]);
  }

  holder.addEventListener("pointerdown", (event) => {
    if (event.button || !svg) return;
    start = yUnder(event);
    dragged = false;
    holder.setPointerCapture(event.pointerId);
  });
  holder.addEventListener("pointermove", (event) => {
    if (!svg) return;
    const y = yUnder(event);
    if (start === null) { point(stepAt(y)); return; }
    dragged ||= Math.abs(y - start) > 3;
    if (dragged) scrollTo(y);
  });
  holder.addEventListener("pointerup", (event) => {
    if (start !== null && !dragged) choose(stepAt(yUnder(event)));
    start = null;
  });
  holder.addEventListener("pointercancel", () => { start = null; });
  holder.addEventListener("pointerleave", () => { if (svg && start === null) point(-1); });
  holder.addEventListener("keydown", (event) => {
    const way = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity }[event.key];
    if (!way || event.ctrlKey || event.metaKey || event.altKey) return;
    const first = Math.max(0, placeOf(0));
    choose(Math.max(first, clamped((current < 0 ? first - 1 : placeOf(current)) + way)));
    event.preventDefault();
    event.stopPropagation();
  });
  const onScroll = () => { asked ||= requestAnimationFrame(showView); };
  scroll.addEventListener("scroll", onScroll);
  const sized = new ResizeObserver(() => { if (scroll.clientHeight !== tall) redraw(); else onScroll(); });
  sized.observe(scroll);

  return {
    draw(next, numbers, palette) {
      [sides, colours] = [next, palette];
      units = sides.map(({ step }) => step);
      gains = numbers.find(({ name }) => name === GAIN)?.parts[0][1] ?? null;
      redraw();
    },
    mark(step) { current = step; showMark(); },
    end() { sized.disconnect(); cancelAnimationFrame(asked); },
  };
}
