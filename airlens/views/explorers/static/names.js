// Put before the script that needs it (see ../view_scripts.py): names for a notebook's sliders, which
// have their name beside them but not where a screen reader looks for it.

// Names the sliders of the live view around a node, also those that come later; returns what ends it.
function nameSliders(node) {
  let observer = null, frame = 0;
  function look(root) {
    for (const handle of root.querySelectorAll(".noUi-handle:not([aria-label])")) {
      const name = handle.closest(".widget-inline-hbox")?.querySelector(".widget-label")?.textContent;
      if (name) handle.setAttribute("aria-label", name);
    }
  }
  function begin() {
    const root = node.closest(".airlens-live");
    if (!root) { frame = requestAnimationFrame(begin); return; } // not yet in the page
    observer = new MutationObserver(() => look(root));
    observer.observe(root, { childList: true, subtree: true });
    look(root);
  }
  begin();
  return () => { cancelAnimationFrame(frame); observer?.disconnect(); };
}
