// A short text token by token: what differs is marked, and a token can be picked.
function render({ model, el }) {
  const root = document.createElement("div");
  root.className = "airlens airlens-tokens";
  const name = document.createElement("div");
  name.className = "name";
  const line = document.createElement("div");
  line.className = "text";
  line.dir = "auto";
  root.append(name, line);
  el.appendChild(root);
  const get = (trait) => model.get(trait);

  function draw() {
    name.textContent = get("name");
    line.replaceChildren();
    line.tabIndex = get("pickable") ? 0 : -1;
    line.setAttribute("role", get("pickable") ? "listbox" : "note");
    line.setAttribute("aria-label", get("name"));
    const split = get("split");
    get("texts").forEach((text, i) => {
      const span = document.createElement("span");
      span.dataset.i = i;
      if (get("pickable")) span.setAttribute("role", "option");
      if (i === split) span.className = "first";
      else if (get("differs").includes(i)) span.className = "rest";
      // What is not to be seen by itself must not be missed where it is what differs.
      span.textContent = i === split && get("marked") ? get("marked") : text;
      line.appendChild(span);
    });
    if (!get("texts").length) line.textContent = get("empty");
    mark();
  }

  function mark() {
    [...line.querySelectorAll("span")].forEach((span, i) => {
      span.classList.toggle("now", get("pickable") && i === get("current"));
      if (get("pickable")) span.setAttribute("aria-selected", String(i === get("current")));
    });
  }

  function pick(index) {
    if (!get("pickable") || !(index >= 0 && index < get("texts").length)) return;
    model.set("picked", [index, moment()]);
    model.save_changes();
  }
  const onClick = (event) => {
    const span = event.target.closest("[data-i]");
    if (span) pick(Number(span.dataset.i));
  };
  const onKey = (event) => {
    const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
    if (step === undefined) return;
    pick(get("current") + step);
    event.preventDefault();
    event.stopPropagation();
  };
  line.addEventListener("click", onClick);
  line.addEventListener("keydown", onKey);
  model.on("change:version", draw);
  model.on("change:current", mark);
  draw();
  return () => {
    model.off("change:version", draw);
    model.off("change:current", mark);
    root.remove();
  };
}

export default { render };
