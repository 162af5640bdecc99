// Put before grid.js (see ../view_scripts.py): cells that are small pictures, and the one that is pointed
// at, larger, beside them. Needs dom.js before it.
const SIDE = [26, 46], BESIDE = 220; // pixels of a tile: at least, at most; of the larger one

// The side of a tile where there is so much room; they may be wider together, and are scrolled then.
function tileSide(room, cols) {
  const beside = room > 2 * BESIDE ? BESIDE + 16 : 0;
  return Math.max(SIDE[0], Math.min(SIDE[1], Math.floor((room - beside) / cols)));
}

// `holder` is where the cells are drawn.
function makeTiles(root) {
  const stage = element("div", "stage", root), pan = element("div", "pan", stage), holder = element("div", "holder", pan);
  const larger = element("div", "larger", stage);
  larger.setAttribute("aria-hidden", "true"); // the line under the map says it in words
  let rows = 0, cols = 0;
  const enlarge = (cell) => {
    larger.classList.toggle("none", !cell || !cols);
    if (!cell || !cols) return;
    const [across, down] = [[cell[1], cols], [cell[0], rows]].map(([at, count]) => `${count > 1 ? (100 * at) / (count - 1) : 0}%`);
    larger.style.backgroundPosition = `${across} ${down}`;
  };
  return {
    holder,
    enlarge,
    // The picture, to be put in its place; null where there is none.
    draw(picture, high, wide) {
      root.classList.toggle("tiled", Boolean(picture));
      [rows, cols] = picture ? [high, wide] : [0, 0];
      larger.style.backgroundImage = picture ? `url("data:image/png;base64,${picture}")` : "";
      larger.style.backgroundSize = `${100 * wide}% ${100 * high}%`;
      enlarge(null);
      if (!picture) return null;
      const image = element("img", "cells", holder);
      image.src = `data:image/png;base64,${picture}`;
      image.alt = "";
      return image;
    },
  };
}
