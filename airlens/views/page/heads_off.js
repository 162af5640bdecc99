// Put before page.js (see ./page_script.py): a button for each head, pressed where the head is off; its
// bar is what that head does alone.

// choose(heads): called with the heads that are to be off.
function makeHeadsOff(root, heads, choose) {
  let off = [];
  element("span", "", root, "heads that are off");
  const nodes = heads.map((head) => {
    const node = button("", root, head);
    const bar = element("i", "", node);
    node.addEventListener("click", () => choose(off.includes(head) ? off.filter((one) => one !== head) : [...off, head]));
    return { head, node, bar };
  });
  for (const [text, label, some] of [["all", "all heads off", heads], ["none", "none off", []]]) button("plain", root, text, label).addEventListener("click", () => choose(some));
  return {
    // `effect(head)`: the AIS of that head alone, null where it is not known; `where`: of what.
    show(next, effect, where) {
      off = next;
      const most = Math.max(1e-9, ...heads.map((head) => Math.abs(effect(head) ?? 0)));
      for (const { head, node, bar } of nodes) {
        const ais = effect(head);
        node.setAttribute("aria-pressed", String(off.includes(head)));
        node.title = `${head} ${off.includes(head) ? "is off" : "works"}; off alone, AIS ${short(ais)} ${where}`;
        bar.style.width = `${Math.round((100 * Math.abs(ais ?? 0)) / most)}%`;
        bar.className = (ais ?? 0) < 0 ? "cool" : "";
      }
    },
  };
}
