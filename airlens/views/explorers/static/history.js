// Put before the scripts that need it (see ../view_scripts.py): what is shown, as the page's address.
const WALK = ["j", "k", "ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight", "Home", "End", "PageUp", "PageDown"];
const SLIDER = "input[type=range], .noUi-target"; // the second is a notebook's

// `goTo(hash)` is called when a reader goes back or on, or writes another address.
function makeHistory(goTo) {
  // A click is a place to come back to; the first view is none, nor is each key of a walk, nor what
  // going back leads to.
  let first = true, walking = false, back = false, here = location.hash;
  const calls = {
    keydown: ({ key }) => { walking = WALK.includes(key); },
    pointerdown: ({ target }) => { walking = Boolean(target.closest?.(SLIDER)); },
    hashchange: () => { here = location.hash; back = true; goTo(here); },
  };
  for (const [name, call] of Object.entries(calls)) addEventListener(name, call, true);
  return {
    // `moved`: what is shown is the same, only where one looks is not.
    put(hash, moved = false) {
      if (location.hash !== here) return; // a reader has just gone elsewhere, which is told next
      if (hash !== here) history[first || walking || back || moved ? "replaceState" : "pushState"](null, "", hash);
      here = location.hash;
      first = back = false;
    },
    click: () => { walking = false; }, // what comes now is as if clicked
    end: () => { for (const [name, call] of Object.entries(calls)) removeEventListener(name, call, true); },
  };
}
