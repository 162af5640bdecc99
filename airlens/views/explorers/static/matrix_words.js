// Put before the script that needs it (see ../view_scripts.py): the words of matrix.js, and its picture
// as a file. Needs dom.js, cells.js, matrix_parts.js (what a view is) and picture.js before it.

const inMap = ({ size }, cell) => cell >= 0 && cell < size.rows * size.cols;
const showsAll = ({ size, part }) => part[1] - part[0] >= size.rows && part[3] - part[2] >= size.cols;

// A cell in words: its numbers, and how step and source begin.
function cellWords(view, cell) {
  const { get, size, places } = view;
  if (!inMap(view, cell)) return get("hint");
  const r = Math.floor(cell / size.cols), c = cell % size.cols, step = prompts(view) + r, place = places.get(cell);
  const parts = { row: get("rows")[r], col: get("cols")[c], value: short(get("values")[place], 3), control: short(get("controls")[place], 3) };
  const quoted = (unit) => (get("words")[unit] ? `\u201c${get("words")[unit]}\u201d` : "");
  if (c >= step) return `step ${parts.row}${c > step ? `: step ${parts.col} comes later` : ""}\n${quoted(step)}`;
  const said = place === undefined ? `step ${parts.row} from ${parts.col}: 0, or not kept` : get("said").replace(/\{(\w+)\}/g, (_, name) => parts[name]);
  return `${said}\n${quoted(step)}${quoted(c) ? ` from ${quoted(c)}` : ""}`;
}

const mapTitle = (get) => get("title") + (get("show") === "control" && get("title") ? ", random heads" : "");

// What the colours mean.
function drawScale(scale, get) {
  const [cool, warm, grey] = get("colours"), control = get("show") === "control", signed = get("signed"), top = short(get("bound"));
  scale.replaceChildren();
  if (!get("at").length) return;
  scale.append(signed ? `\u2212${top}` : "0");
  element("i", "ramp", scale).style.background = `linear-gradient(90deg, ${signed ? `${control ? grey : cool}, ` : ""}transparent, ${control ? grey : signed ? warm : cool})`;
  scale.append(top);
}

// The map as it is seen, under the finding, with where it is from.
function mapPicture(view, cells) {
  const { get, size, part } = view, rows = get("rows"), cols = get("cols");
  const some = showsAll(view) ? "" : `; steps ${rows[Math.floor(part[0])]} to ${rows[Math.ceil(part[1]) - 1]}, sources ${cols[Math.floor(part[2])]} to ${cols[Math.ceil(part[3]) - 1]}`;
  const lines = [`${get("name") ? `${get("name")}: ` : ""}${mapTitle(get)}, ${get("signed") ? "\u00b1" : "0 to "}${short(get("bound"))}${some}`];
  if (get("sides").length) lines.push("Beside the rows: AIS of each step, and over it that of random heads in grey.");
  if (inMap(view, get("current"))) lines.push(cellWords(view, get("current")));
  return pictureOf({ head: get("finding"), said: lines.join("\n"), foot: get("link"), width: size.wide, height: size.tall, draw(parent) {
    const { left, width, height } = size;
    cellShapes(cells, part, width, height, shape("svg", { x: left, y: TOP, width, height }, parent));
    drawParts(parent, { ...view, seen: -1 }, INK);
  } });
}

const mapName = (get) => fileName(`${get("name")} ${get("title").split(",")[0]}`);
