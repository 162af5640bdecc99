// A table that sorts by a click on a heading and filters by text; long ones are shown in parts.
const PART = 100;

function show(value) {
  if (value === null || value === undefined) return "\u2013";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value !== "number") return String(value);
  const text = Number.isInteger(value) ? value.toLocaleString("en") : String(Number(value.toPrecision(3)));
  return text.replace("-", "\u2212");
}

function order(a, b) {
  if (a === null || b === null) return (a === null) - (b === null);
  return typeof a === "number" || typeof a === "boolean" ? a - b : String(a).localeCompare(String(b));
}

function render({ model, el }) {
  const root = document.createElement("div");
  root.className = "airlens airlens-table";
  const bar = document.createElement("div");
  bar.className = "key";
  const label = document.createElement("label");
  label.textContent = "filter ";
  const filter = document.createElement("input");
  filter.type = "search";
  filter.placeholder = "words to look for";
  label.appendChild(filter);
  const said = document.createElement("span");
  said.className = "faint";
  said.setAttribute("aria-live", "polite");
  bar.append(label, said);
  const scroll = document.createElement("div");
  scroll.className = "scroll";
  scroll.style.maxHeight = "320px";
  const table = document.createElement("table");
  const more = document.createElement("button");
  more.type = "button";
  more.textContent = `show ${PART} more`;
  scroll.append(table, more);
  root.append(bar, scroll);
  el.appendChild(root);

  let sort = [-1, 1];
  let shown = PART;
  const get = (name) => model.get(name);

  function rowsInOrder() {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const kept = get("only").length ? new Set(get("only")) : null;
    const found = [];
    get("rows").forEach((row, index) => {
      if (kept && !kept.has(index)) return;
      const text = row.map((cell) => (typeof cell === "string" ? cell.toLowerCase() : "")).join(" ");
      if (words.every((word) => text.includes(word))) found.push([row, index]);
    });
    const [column, way] = sort;
    // What is missing comes last in both directions.
    if (column >= 0) found.sort(([a], [b]) => (a[column] === null || b[column] === null ? order(a[column], b[column]) : way * order(a[column], b[column])));
    return found;
  }

  function draw() {
    const columns = get("columns");
    const found = rowsInOrder();
    table.replaceChildren();
    const head = table.createTHead().insertRow();
    columns.forEach((name, column) => {
      const cell = document.createElement("th");
      const button = document.createElement("button");
      button.type = "button";
      const arrow = sort[0] === column ? (sort[1] < 0 ? " \u25be" : " \u25b4") : "";
      button.textContent = name + arrow;
      button.title = get("hints")[column] ?? "";
      if (get("rows").some((row) => typeof row[column] === "number")) cell.className = "num";
      cell.setAttribute("aria-sort", arrow ? (sort[1] < 0 ? "descending" : "ascending") : "none");
      button.onclick = () => { sort = [column, sort[0] === column ? -sort[1] : -1]; draw(); };
      cell.appendChild(button);
      head.appendChild(cell);
    });
    const body = table.createTBody();
    const bars = get("bars");
    for (const [row, index] of found.slice(0, shown)) {
      const line = body.insertRow();
      line.tabIndex = 0;
      line.dataset.index = index;
      line.classList.toggle("current", index === get("current"));
      row.forEach((value, column) => {
        const cell = line.insertCell();
        cell.textContent = show(value);
        if (typeof value === "string") cell.title = value;
        if (typeof value === "number") cell.className = "num";
        const most = bars[column];
        if (most && typeof value === "number") {
          const colour = value < 0 ? "rgba(0,114,178,.25)" : "rgba(213,94,0,.25)";
          const share = Math.min(100, (100 * Math.abs(value)) / most);
          cell.style.background = `linear-gradient(90deg, ${colour} ${share}%, transparent ${share}%)`;
        }
      });
    }
    more.hidden = found.length <= shown;
    said.textContent = `${found.length} of ${get("rows").length} rows`;
  }

  function pick(line) {
    if (!line || line.dataset.index === undefined) return;
    model.set("picked", [Number(line.dataset.index), moment()]);
    model.save_changes();
  }
  const onClick = (event) => pick(event.target.closest("tbody tr"));
  const onKey = (event) => { if (event.key === "Enter") pick(event.target.closest("tbody tr")); };
  const onMore = () => { shown += PART; draw(); };
  const onFilter = () => { shown = PART; draw(); };
  table.addEventListener("click", onClick);
  table.addEventListener("keydown", onKey);
  more.addEventListener("click", onMore);
  filter.addEventListener("input", onFilter);
  // The notebook's own shortcuts must not see what is typed here.
  filter.addEventListener("keydown", (event) => event.stopPropagation());
  const traits = ["version", "only", "current"];
  for (const name of traits) model.on(`change:${name}`, draw);
  draw();
  return () => {
    for (const name of traits) model.off(`change:${name}`, draw);
    root.remove();
  };
}

export default { render };
