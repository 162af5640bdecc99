// Put before the script that needs it (see ../view_scripts.py): of the unit that is locked, the units that
// it copies from and the later steps that use it, as chips to point at and to click, and as outlines of
// their rows. Needs dom.js and units.js before it.

// A chip stands for a pair [step, source]. point(pair): it is pointed at or reached by keys, []: none is;
// lock(pair, unit): it is clicked, and the unit is at its other end; leave(): Escape.
function makeLinks(parent, { point, lock, leave }) {
  const node = element("div", "links", parent);
  node.dataset.lmSuppressShortcuts = "true"; // or the notebook takes these keys
  const pairOf = (chip) => [Number(chip.dataset.step), Number(chip.dataset.source)];
  const chips = () => [...node.querySelectorAll(".chip")];
  const under = (event) => { const chip = event.target.closest(".chip"); point(chip ? pairOf(chip) : []); };

  function addRow(kind, label, title, said, found, { held, lowest, control, focus }) {
    const row = element("div", kind, node), name = element("span", "faint", row, said);
    if (found.length) element("span", "whose", name, control ? " (random heads)" : " (in brackets: random heads)");
    row.setAttribute("role", "group");
    row.setAttribute("aria-label", label);
    name.title = title;
    for (const { unit, value, other } of found) {
      const text = `${unitName(unit, lowest)}: ${short(value)}${control ? "" : ` (${short(other)})`}`;
      const chip = button("chip", row, text, `${kind === "from" ? "from" : "used by"} ${text}; show it`);
      const pair = kind === "from" ? [held, unit] : [unit, held];
      [chip.dataset.unit, chip.dataset.step, chip.dataset.source] = [unit, ...pair];
      if (String(pair) === String(focus)) chip.setAttribute("aria-current", "true");
    }
  }

  // `of`: held (the unit, or null), from, uses (lists of `strongest` and `usesOf`), lowest (the first unit),
  // control (whether it is of random heads), focus (the pair that is locked), measure (what a value is)
  // and known (whether anything is).
  function draw(of) {
    const { held, from, uses, lowest, control, measure, known } = of, before = node.getRootNode().activeElement;
    const kept = node.contains(before) ? before.dataset : null;
    node.replaceChildren();
    node.hidden = !known;
    if (node.hidden || held === null) return;
    const name = unitName(held, lowest);
    const none = held < 0 ? `${name}: given, not copied` : `${name}: no source above the threshold`;
    addRow("from", `what ${name} copies from`, measure, from.length ? `${name} from` : none, from, of);
    addRow("uses", `what uses ${name}`, measure, uses.length ? `${name} used by` : `${name}: no use above the threshold`, uses, of);
    if (!kept) return; // what was reached by keys is still reached
    const same = chips().find(({ dataset }) => dataset.step === kept.step && dataset.source === kept.source);
    if (same ?? chips()[0]) (same ?? chips()[0]).focus(); else leave();
  }

  node.addEventListener("mouseover", under);
  node.addEventListener("mouseleave", () => point([]));
  node.addEventListener("focusin", under);
  node.addEventListener("focusout", () => point([]));
  node.addEventListener("click", (event) => {
    const chip = event.target.closest(".chip");
    if (chip) lock(pairOf(chip), Number(chip.dataset.unit));
  });
  node.addEventListener("keydown", (event) => {
    const all = chips(), at = all.indexOf(event.target), way = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (at < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") leave();
    else if (way) all[Math.max(0, Math.min(all.length - 1, at + way))].focus();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  return { draw, enter(kind) { node.querySelector(`.${kind} .chip`)?.focus(); } };
}

// Outlines the rows of what a unit copies from and of what uses it, the one that is chosen, and the current
// one; returns which. `before`: what this gave the last time; colour: of the outlines.
function outlineRows(blocks, before, { current, chosen, from, uses, colour }) {
  const sources = new Map(from.map(({ unit, value }) => [unit, value])), users = new Map(uses.map(({ unit, value }) => [unit, value]));
  const now = new Set([...sources.keys(), ...users.keys(), chosen, ...(current >= 0 ? [current] : [])]);
  const share = (value, [strongest]) => rgba(colour, 0.25 + (0.75 * value) / strongest.value);
  for (const unit of new Set([...before, ...now])) for (const { row, badge } of blocks.of(unit)) {
    const source = sources.get(unit), user = users.get(unit);
    row.classList.toggle("current", unit === current && unit >= 0); // no step is -1, a unit of the prompt is
    row.classList.toggle("from", source !== undefined);
    row.classList.toggle("uses", user !== undefined);
    row.classList.toggle("chosen", unit === chosen);
    row.style.outlineColor = source !== undefined ? share(source, from) : user !== undefined ? share(user, uses) : "";
    if (badge) badge.textContent = source !== undefined ? `\u2192 ${short(source)}` : user !== undefined ? `\u2190 ${short(user)}` : "";
  }
  return now;
}
