// Put before the scripts that need it (see ../view_scripts.py): small helpers for nodes and numbers.
const SVG = "http://www.w3.org/2000/svg";

function element(tag, className, parent, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  if (parent) parent.appendChild(node);
  return node;
}

function button(className, parent, text, label) {
  const node = element("button", className, parent, text);
  node.type = "button";
  if (label) node.setAttribute("aria-label", label);
  return node;
}

function shape(tag, attributes, parent) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (parent) parent.appendChild(node);
  return node;
}

function rgba(hex, alpha) {
  const part = (i) => parseInt(hex.slice(i, i + 2), 16);
  return `rgba(${part(1)},${part(3)},${part(5)},${alpha.toFixed(2)})`;
}

function short(value, digits = 2) {
  if (value === null || value === undefined) return "\u2013";
  return String(Number(value.toPrecision(digits))).replace("-", "\u2212");
}

// When something was picked, in milliseconds; each later than the one before.
let latest = 0;
function moment() {
  latest = Math.max(latest + 0.001, performance.timeOrigin + performance.now());
  return latest;
}

// Label so few rows or columns that their names do not touch.
function every(room, size) {
  return [1, 2, 5, 10, 20, 50, 100, 200].find((step) => step * room >= size) ?? 500;
}

// Listens to traits; returns what ends it.
function listen(model, calls) {
  const pairs = Object.entries(calls).flatMap(([names, call]) => names.split(" ").map((name) => [`change:${name}`, call]));
  for (const [name, call] of pairs) model.on(name, call);
  return () => { for (const [name, call] of pairs) model.off(name, call); };
}
