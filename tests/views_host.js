// A host without Python: models with the widgets' API, and what TraceExplorer does after a pick.
const models = {}, data = JSON.parse(document.getElementById("data").textContent);
for (const [name, traits] of Object.entries(data)) {
  const calls = new Map(), of = (what) => calls.get(what) ?? [];
  models[name] = {
    get: (trait) => traits[trait],
    set(trait, value) {
      if (traits[trait] === value) return;
      traits[trait] = value;
      for (const call of of(`change:${trait}`)) call();
    },
    on: (what, call) => calls.set(what, [...of(what), call]),
    off: (what, call) => calls.set(what, of(what).filter((one) => one !== call)),
    save_changes() {},
  };
}
const { text, arcs, matrix } = models, units = arcs.get("units");

function choose(step, source) {
  const focus = source === undefined ? [] : [step, source];
  if (String(text.get("focus")) !== String(focus)) text.set("focus", focus);
  for (const model of [text, arcs]) model.set("current", step);
  matrix.set("row", step);
  matrix.set("column", source === undefined ? -1 : units.indexOf(source));
  matrix.set("current", source === undefined || step < 0 ? -1 : step * units.length + units.indexOf(source));
}

for (const model of [text, arcs]) model.on("change:picked", () => {
  const [unit] = model.get("picked");
  if (unit < 0) choose(-1, unit); else choose(unit);
});
text.on("change:focus", () => { if (text.get("focus").length) choose(...text.get("focus")); });
matrix.on("change:picked", () => {
  const index = matrix.get("picked")[0], step = Math.floor(index / units.length);
  const source = units[index % units.length];
  if (source < step) choose(step, source);
});
text.on("change:told", () => matrix.set("told", text.get("told")));
for (const [name, view] of Object.entries(views)) {
  view.render({ model: models[name], el: document.getElementById(name) });
}
