// The state of a workspace as an address: of the app's own page, kept over a reload, or to copy.
function render({ model, el }) {
  const ours = "voila" in document.body.dataset; // in a notebook the address is the notebook's
  const key = `airlens ${model.get("name")}`;
  const root = element("div", "airlens airlens-address", el);
  const copy = button("press", root, ours ? "copy link" : "copy state");
  const page = button("press", root, "save as a page");
  copy.title = ours ? "A link to what is shown, for somebody who has the app open with the same data." : "For al.Workspace(…, state=…).";
  page.title = "One file with this trace, its colours and sources, that opens without airlens.";
  const said = element("span", "faint", root);
  said.setAttribute("role", "status");
  const shown = element("input", "", root); // what was copied, or is to be copied by hand
  shown.readOnly = true;
  shown.hidden = true;
  shown.setAttribute("aria-label", "what was copied");

  // What this tab keeps of the view; no store is given to every page, and it may be full.
  function store(call) {
    try { return call(sessionStorage); } catch { return null; }
  }

  const send = (values) => {
    for (const [name, value] of Object.entries(values)) model.set(name, value);
    model.save_changes();
  };
  let asked = 0; // when a reader went back last: what is told before the answer to it is out of date
  const places = ours ? makeHistory((address) => { asked = moment(); send({ wanted: [address, asked] }); }) : null;
  const put = () => { if (model.get("answered") >= asked) places?.put(`#${model.get("address")}`); };
  const link = () => (ours ? `${location.href.split("#")[0]}#${model.get("address")}` : model.get("address"));

  function restore() {
    const kept = store((it) => it.getItem(key)), here = ours ? location.hash.slice(1) : "";
    const known = (!here || here === model.get("address")) && (!kept || kept === model.get("state"));
    if (known && model.get("address")) put();
    if (!known) send({ restored: JSON.stringify({ ...JSON.parse(kept ?? "{}"), ...(here ? { address: here } : {}) }) });
  }

  async function onCopy() {
    shown.value = link();
    shown.hidden = false;
    try {
      await navigator.clipboard.writeText(shown.value);
      said.textContent = "copied:";
    } catch {
      said.textContent = "copy this:";
      shown.select();
    }
  }

  function onFile(message, [bytes]) {
    const file = element("a", "", root);
    file.href = URL.createObjectURL(new Blob([bytes], { type: "text/html" }));
    file.download = message.name;
    file.click();
    file.remove();
    setTimeout(() => URL.revokeObjectURL(file.href), 60_000);
    shown.hidden = true;
    said.textContent = `saved: ${message.name}`;
  }

  copy.addEventListener("click", onCopy);
  page.addEventListener("click", () => { said.textContent = "writing the page …"; send({ asked: model.get("asked") + 1 }); });
  model.on("msg:custom", onFile);
  const end = listen(model, {
    state: () => store((it) => it.setItem(key, model.get("state"))),
    "address answered": () => { put(); if (!shown.hidden) { shown.hidden = true; said.textContent = ""; } },
    told: () => { said.textContent = model.get("told"); },
  });
  restore();
  return () => { places?.end(); model.off("msg:custom", onFile); end(); root.remove(); };
}

export default { render };
