// A button that cancels a job. A kernel that waits for the job inside a cell reads no messages: it
// is interrupted, which is taken as a cancel (jobs.py).
function render({ model, el }) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "airlens-cancel";
  button.textContent = "cancel";
  const press = () => {
    const kernel = model.get("waiting") && model.widget_manager?.kernel;
    if (kernel) {
      kernel.interrupt();
      return;
    }
    model.set("pressed", model.get("pressed") + 1);
    model.save_changes();
  };
  button.addEventListener("click", press);
  el.append(button);
  return nameSliders(el); // every live view has this button
}

export default { render };
