// Put before the script that needs it (see ../view_scripts.py): the part of a map that is shown, [first
// row, end of rows, first column, end of columns], in cells and fractions of them.

// From `from` to `to` of `n`, at least `least` long, moved to where there are cells.
function spanOf(from, to, n, least) {
  const long = Math.min(n, Math.max(least, to - from)), start = Math.max(0, Math.min(n - long, (from + to - long) / 2));
  return [start, start + long];
}

// `least`: the fewest rows and columns that fill the map.
function fitted([r0, r1, c0, c1], rows, cols, least) {
  return [...spanOf(r0, r1, rows, Math.min(rows, least[0])), ...spanOf(c0, c1, cols, Math.min(cols, least[1]))];
}

// Larger by a factor, about a point that stays where it is.
function zoomedBy([r0, r1, c0, c1], by, [row, col]) {
  return [row + (r0 - row) / by, row + (r1 - row) / by, col + (c0 - col) / by, col + (c1 - col) / by];
}

function movedBy([r0, r1, c0, c1], rows, cols) {
  return [r0 + rows, r1 + rows, c0 + cols, c1 + cols];
}

// Moved so far that a cell is in it, and not at its edge.
function broughtIn(part, row, col) {
  const way = (from, to, at) => {
    const edge = Math.min(2, (to - from) / 5);
    return at < from + edge ? at - from - edge : at + 1 > to - edge ? at + 1 - to + edge : 0;
  };
  return movedBy(part, way(part[0], part[1], row), way(part[2], part[3], col));
}
