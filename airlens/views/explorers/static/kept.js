// Keeps the state of a view over a reload of the page, in the browser's own store of this tab.
function render({ model }) {
  const key = `airlens ${model.get("name")}`;
  try {
    const kept = sessionStorage.getItem(key);
    if (kept && kept !== model.get("state")) {
      model.set("restored", kept);
      model.save_changes();
    }
    model.on("change:state", () => sessionStorage.setItem(key, model.get("state")));
  } catch {
    // No store is given to this page, or it is full: nothing is kept.
  }
}

export default { render };
