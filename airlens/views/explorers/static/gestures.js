// Put before the script that needs it (see ../view_scripts.py): wheel, drag, pinch and keys on a map.
const STILL = 4; // pixels that a click may move
const SAME = 250; // milliseconds between two turns of a wheel that are one movement

// `at(x, y)`: the point of the map there, null outside; `zoom(by, point)` and `pan(dx, dy)`, in pixels,
// return whether anything moved; hover(point) and pick(point). Returns what ends it.
function watchGestures(holder, { at, zoom, pan, hover, pick }) {
  const fingers = new Map();
  let still = true, apart = 0, turned = -SAME, mine = false;
  const under = (event) => at(event.clientX, event.clientY);

  // A page that is being scrolled goes on when the map comes under the wheel.
  function onAnyWheel(event) {
    if (event.timeStamp - turned > SAME) mine = holder.contains(event.target);
    turned = event.timeStamp;
  }

  function onWheel(event) {
    const point = under(event), lines = event.deltaMode ? 16 : 1;
    if (!mine || !point) return;
    if (zoom(Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.002)), point) || event.ctrlKey) event.preventDefault();
  }

  function span() {
    const [a, b] = [...fingers.values()];
    return { far: Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY), x: (a.clientX + b.clientX) / 2, y: (a.clientY + b.clientY) / 2 };
  }

  function onDown(event) {
    if (event.button) return;
    if (!fingers.size) still = true;
    fingers.set(event.pointerId, event);
    holder.setPointerCapture(event.pointerId);
    if (fingers.size === 2) { still = false; apart = span().far; }
  }

  function onMove(event) {
    const before = fingers.get(event.pointerId);
    if (!before) { hover(under(event)); return; }
    const dx = event.clientX - before.clientX, dy = event.clientY - before.clientY;
    if (fingers.size === 1 && still && Math.hypot(dx, dy) < STILL) return;
    still = false;
    hover(null);
    fingers.set(event.pointerId, event);
    pan(dx / fingers.size, dy / fingers.size);
    if (fingers.size !== 2) return;
    const { far, x, y } = span(), point = at(x, y);
    if (point && apart > 0) zoom(far / apart, point);
    apart = far;
  }

  function onUp(event) {
    const was = fingers.delete(event.pointerId);
    if (was && still && event.type === "pointerup") pick(under(event));
    if (event.pointerType === "touch") hover(null);
  }

  const calls = { pointerdown: onDown, pointermove: onMove, pointerup: onUp, pointercancel: onUp, pointerleave: () => hover(null) };
  for (const [name, call] of Object.entries(calls)) holder.addEventListener(name, call);
  holder.addEventListener("wheel", onWheel, { passive: false });
  addEventListener("wheel", onAnyWheel, { passive: true, capture: true });
  return () => removeEventListener("wheel", onAnyWheel, { capture: true });
}

const KEYS = "Arrow keys move, Enter picks, plus and minus zoom, 0 shows all, Shift and arrow keys move the window.";
const WAYS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0], PageUp: [-10, 0], PageDown: [10, 0], Home: [0, -Infinity], End: [0, Infinity] };

// walk([rows, columns]); pan(rows, columns), in windows; zoom(by); all() and pick().
function watchKeys(holder, { walk, pan, zoom, all, pick }) {
  holder.addEventListener("keydown", (event) => {
    const { key: name } = event, way = WAYS[name];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (way && event.shiftKey && name.startsWith("Arrow")) pan(way[0] / 4, way[1] / 4);
    else if (way) walk(way);
    else if (name === "Enter" || name === " ") pick();
    else if (name === "+" || name === "=") zoom(2);
    else if (name === "-" || name === "_") zoom(0.5);
    else if (name === "0") all();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
}
