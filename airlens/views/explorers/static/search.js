// Put before the script that needs it (see ../view_scripts.py): a box to search a text cut into pieces.

// `changed()` is called when other pieces match, `show(piece)` when a match is to be seen.
function makeSearch(parent, { changed, show }) {
  const root = element("span", "search", parent);
  const box = element("input", "", root);
  box.type = "search";
  box.placeholder = "search the trace";
  box.setAttribute("aria-label", "search the trace; Enter: next match");
  box.dataset.lmSuppressShortcuts = "true"; // the notebook's own keys
  const said = element("span", "faint", root);
  const back = button("", root, "\u2039", "previous match");
  const on = button("", root, "\u203a", "next match");
  said.setAttribute("aria-live", "polite");
  back.disabled = on.disabled = true;
  let lower = "", starts = []; // the whole text in small letters, and where each piece begins in it
  let matches = [], of = new Map(), at = -1; // [first piece, last piece]; the match of a piece

  function pieceAt(letter) {
    let low = 0, high = starts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (starts[middle] <= letter) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  function go(to) {
    at = matches.length ? (to + matches.length) % matches.length : -1;
    said.textContent = !box.value ? "" : matches.length ? `${at + 1} of ${matches.length}` : "no match";
    back.disabled = on.disabled = matches.length < 2;
    changed();
    if (at >= 0) show(matches[at][0]);
  }

  function find() {
    const wanted = box.value.toLowerCase().replace(/\s/g, " ");
    matches = [];
    for (let k = wanted ? lower.indexOf(wanted) : -1; k >= 0; k = lower.indexOf(wanted, k + wanted.length))
      matches.push([pieceAt(k), pieceAt(k + wanted.length - 1)]);
    of = new Map();
    matches.forEach(([first, last], n) => { for (let i = first; i <= last; i++) of.set(i, n); });
    go(0);
  }

  box.addEventListener("input", find);
  box.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key === "Enter") go(at + (event.shiftKey ? -1 : 1));
    else if (event.key === "Escape") { box.value = ""; find(); }
  });
  back.addEventListener("click", () => go(at - 1));
  on.addEventListener("click", () => go(at + 1));
  return {
    load(texts) {
      lower = ""; starts = [];
      for (const text of texts) { starts.push(lower.length); lower += text.toLowerCase().replace(/\s/g, " "); }
      root.hidden = !texts.length;
      if (box.value) find();
    },
    classOf: (piece) => (of.has(piece) ? (of.get(piece) === at ? " hit at" : " hit") : ""),
    focus: () => { box.focus(); box.select(); },
    next: (way) => go(at + way),
  };
}
