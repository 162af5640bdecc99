// Put before scatter.js (see ../view_scripts.py): a form for each group of points, so that groups are told
// apart without their colours: those of SYMBOLS in ../../figures/style.py, in their order.

// A closed line through points at these angles (parts of a turn, 0: up) and distances.
function ring(x, y, corners) {
  return `M${corners.map(([turn, far]) => `${(x + far * Math.sin(2 * Math.PI * turn)).toFixed(2)} ${(y - far * Math.cos(2 * Math.PI * turn)).toFixed(2)}`).join("L")}Z`;
}

const even = (count, far, first = 0) => Array.from({ length: count }, (_, i) => [first + i / count, far]);

// The outline of the mark of a group round a point; marks of one radius look equally large.
function markPath(group, x, y, r) {
  const forms = [
    () => `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0Z`,
    () => ring(x, y, even(4, 1.3 * r, 0.125)), // square
    () => ring(x, y, even(4, 1.35 * r)), // diamond
    () => ring(x, y, even(3, 1.45 * r)), // triangle
    () => ring(x, y, even(4, 0).flatMap((_, i) => [[(i - 0.2) / 4, 1.35 * r], [(i + 0.2) / 4, 1.35 * r], [(i + 0.5) / 4, 0.6 * r]])), // cross
    () => ring(x, y, even(5, 0).flatMap((_, i) => [[i / 5, 1.5 * r], [(i + 0.5) / 5, 0.65 * r]])), // star
    () => ring(x, y, even(6, 1.15 * r)), // hexagon
  ];
  return forms[group % forms.length]();
}
