// Draws the figures, and sorts a table by the column that is clicked.
(function () {
  "use strict";
  var config = __CONFIG__;
  var dark = window.matchMedia("(prefers-color-scheme: dark)");
  function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }
  var plots = Array.prototype.slice.call(document.querySelectorAll(".plot"));
  function draw(place) {
    if (place >= plots.length) { document.documentElement.dataset.drawn = "yes"; return; }
    var node = plots[place];
    var next = function () { setTimeout(draw, 0, place + 1); };
    try {
      var spec = JSON.parse(document.getElementById(node.id + "-data").textContent);
      var layout = spec.layout;
      layout.font = Object.assign({}, layout.font, { color: colour("--soft") });
      if (layout.title && layout.title.font) { layout.title.font.color = colour("--ink"); }
      // On a phone a finger moves the figure sideways, it does not zoom.
      if (node.parentNode.clientWidth < node.clientWidth) { layout.dragmode = false; }
      Plotly.newPlot(node, spec.data, layout, config).then(next, next);
    } catch (error) {
      node.textContent = "This figure could not be drawn: " + error;
      next();
    }
  }
  draw(0);
  dark.addEventListener("change", function () {
    plots.forEach(function (node) {
      if (!node.data) { return; }
      Plotly.relayout(node, {
        "font.color": colour("--soft"), "title.font.color": colour("--ink")
      });
    });
  });
  function key(cell) {
    if (cell.dataset.v !== undefined) { return Number(cell.dataset.v); }
    return cell.classList.contains("num") ? null : cell.textContent.toLowerCase();
  }
  function sort(head) {
    var table = head.closest("table"), body = table.tBodies[0];
    var up = head.getAttribute("aria-sort") === "descending" ? 1 : -1;
    if (!head.classList.contains("num") && !head.hasAttribute("aria-sort")) { up = 1; }
    var rows = Array.prototype.slice.call(body.rows).map(function (row) {
      return [key(row.cells[head.cellIndex]), row];
    });
    rows.sort(function (a, b) {
      if (a[0] === null || b[0] === null) { return (a[0] === null) - (b[0] === null); }
      return a[0] < b[0] ? -up : a[0] > b[0] ? up : 0;
    });
    rows.forEach(function (pair) { body.appendChild(pair[1]); });
    table.querySelectorAll("th").forEach(function (th) { th.removeAttribute("aria-sort"); });
    head.setAttribute("aria-sort", up > 0 ? "ascending" : "descending");
  }
  document.querySelectorAll("th button").forEach(function (button) {
    button.addEventListener("click", function () { sort(button.closest("th")); });
  });
})();
