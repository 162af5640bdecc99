// Put before text.js (see ../view_scripts.py): the keys of a text.

// pins {pinned, followed}: the piece that the keys are at, and the one whose way back is lit.
function watchTextKeys(scroll, { get, pins, pick, rest, blocks, search, links }) {
  scroll.addEventListener("keydown", (event) => {
    const steps = get("steps"), { key: name } = event;
    const way = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1 }[name], along = { ArrowRight: 1, ArrowLeft: -1 }[name];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (way) {
      const next = get("current") < 0 ? Math.max(0, steps[0]) : get("current") + way;
      if (steps.includes(next)) { pick(next); blocks.goTo(-1, next); }
    } else if (along) {
      const i = pins.pinned < 0 ? steps.indexOf(Math.max(get("current"), steps[0])) : pins.pinned + along;
      if (i >= 0 && i < steps.length) { pins.pinned = i; pins.followed = -1; rest(); blocks.goTo(i); }
    } else if (name === "/") search.focus();
    else if (name === "f" || name === "u") links.enter(name === "f" ? "from" : "uses");
    else if (name === "n" || name === "N") search.next(name === "n" ? 1 : -1);
    else if (name === "Enter" && pins.pinned >= 0 && event.target === scroll) { pins.followed = pins.pinned; pick(steps[pins.pinned]); rest(); }
    else if (name === "Escape") { pins.pinned = pins.followed = -1; rest(); }
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
}
