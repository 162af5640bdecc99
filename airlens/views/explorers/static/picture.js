// Put before the script that needs it (see ../view_scripts.py): a view as a file, SVG or PNG, on white
// paper, with words above and below it. Needs dom.js before it.
const PAPER = "#ffffff", INK = "#1b2027", SOFT = "#5a626b", EDGE = 18;

// The words of a text in lines that are at most so wide; what XML may not hold is replaced.
function wrapped(given, width, size, weight) {
  const text = given.replace(/[^\t\n\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu, "\ufffd");
  const pen = element("canvas").getContext("2d"), lines = [];
  pen.font = `${weight} ${size}px system-ui, sans-serif`;
  const fits = (line) => pen.measureText(line).width <= width;
  for (const paragraph of text.split("\n")) {
    let line = "";
    for (const word of paragraph.match(/\S+\s*/g) ?? []) {
      if (line && !fits(line + word.trimEnd())) { lines.push(line.trimEnd()); line = ""; }
      for (const letter of [...word]) { // a word wider than the picture is cut
        if (line && !fits(line + letter.trimEnd())) { lines.push(line); line = ""; }
        line += letter;
      }
    }
    lines.push(line.trimEnd());
  }
  return lines;
}

// `draw(parent)` draws the view itself, width x height, where the words leave room for it.
function pictureOf({ head, said, foot, width, height, draw }) {
  const wide = Math.max(520, width), parts = [[head, 15, INK, 600], [said, 12, SOFT, 400], [foot, 11, SOFT, 400]];
  const svg = shape("svg", { "font-family": "system-ui, sans-serif", "font-size": 11, fill: INK });
  const paper = shape("rect", { fill: PAPER }, svg);
  let y = EDGE;
  const write = ([text, size, fill, weight]) => {
    for (const line of text ? wrapped(text, wide, size, weight) : []) {
      y += size * 1.35;
      shape("text", { x: EDGE, y: y.toFixed(1), "font-size": size, "font-weight": weight, fill }, svg).textContent = line;
    }
  };
  write(parts[0]);
  write(parts[1]);
  draw(shape("g", { transform: `translate(${EDGE} ${(y + 10).toFixed(1)})` }, svg));
  y += 10 + height;
  write(parts[2]);
  const size = { width: wide + 2 * EDGE, height: Math.ceil(y + EDGE) };
  for (const node of [paper, svg]) for (const [name, value] of Object.entries(size)) node.setAttribute(name, value);
  svg.setAttribute("viewBox", `0 0 ${size.width} ${size.height}`);
  return svg;
}

function download(blob, name) {
  const link = element("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

const writtenSvg = (svg) => new XMLSerializer().serializeToString(svg);

function saveSvg(svg, name) {
  download(new Blob([writtenSvg(svg)], { type: "image/svg+xml" }), `${name}.svg`);
}

// At twice its size, for print.
async function savePng(svg, name) {
  const image = new Image(), page = element("canvas");
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(writtenSvg(svg))}`;
  await image.decode();
  page.width = 2 * svg.getAttribute("width");
  page.height = 2 * svg.getAttribute("height");
  page.getContext("2d").drawImage(image, 0, 0, page.width, page.height);
  const blob = await new Promise((done) => page.toBlob(done, "image/png"));
  download(blob, `${name}.png`);
}

// A name as a file may have it.
const fileName = (text) => text.replace(/[^\p{L}\p{N}._-]+/gu, "-").replace(/^[-.]+|[-.]+$/g, "").slice(0, 80) || "airlens";
