"""The style sheet and the script of a report page."""

CSS = """
:root{--ink:#20262d;--soft:#5d666f;--paper:#fdfdfc;--line:#e3e5e7;--tint:#f4f5f5;--link:#00629b;
--bar:#e2a077;--bar-neg:#86b8d9}
@media (prefers-color-scheme:dark){:root{--ink:#e4e6e8;--soft:#a3abb3;--paper:#15181c;
--line:#30363c;--tint:#1d2126;--link:#7cc0ec;--bar:#a5552a;--bar-neg:#2f6c96}}
*{box-sizing:border-box}
html{scroll-behavior:smooth;-webkit-text-size-adjust:100%}
body{margin:0 auto;max-width:1080px;padding:56px 36px 72px;background:var(--paper);
color:var(--ink);font:16.5px/1.65 Inter,system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue","Noto Sans",Arial,sans-serif;text-rendering:optimizeLegibility}
header{margin-bottom:40px}
h1{font-size:34px;line-height:1.2;letter-spacing:-.015em;font-weight:650;margin:0 0 10px;
text-wrap:balance}
.subtitle{font-size:18.5px;color:var(--soft);margin:0;max-width:42em}
nav{display:flex;flex-wrap:wrap;gap:4px 22px;margin-top:26px;padding:12px 0;font-size:14.5px;
border-top:1px solid var(--line);border-bottom:1px solid var(--line)}
a{color:var(--link);text-decoration:none}
a:hover,a:focus-visible{text-decoration:underline}
h2{font-size:24px;line-height:1.3;letter-spacing:-.01em;font-weight:650;margin:64px 0 14px;
scroll-margin-top:20px}
h3{font-size:18px;margin:36px 0 8px;font-weight:650}
p,ul{max-width:43em;margin:0 0 16px}
ul{padding-left:1.2em}
li{margin:4px 0}
blockquote{margin:0 0 20px;padding:2px 0 2px 18px;border-left:3px solid var(--line);
max-width:46em;overflow-wrap:anywhere}
blockquote strong{display:block;font-size:14px;color:var(--soft)}
blockquote div{white-space:pre-wrap;unicode-bidi:isolate}
code,pre{font-family:ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace}
code{font-size:.88em;background:var(--tint);padding:.1em .35em;border-radius:3px}
figure{margin:30px 0 40px}
.wide{overflow:auto hidden}
figure .plot{width:100%;min-width:600px}
figcaption{font-size:14.5px;line-height:1.55;color:var(--soft);max-width:50em;margin-top:10px;
padding-left:6px}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:26px 32px;
margin:30px 0 36px}
.facts div{display:flex;flex-direction:column;border-top:2px solid var(--ink);padding-top:10px}
.facts dd{margin:0;font-size:27px;font-weight:600;letter-spacing:-.01em;line-height:1.25;
font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
.facts dt{font-size:14px;line-height:1.4;color:var(--soft)}
.table{max-height:620px;overflow:auto;border-top:1px solid var(--line);
border-bottom:1px solid var(--line)}
table{border-collapse:separate;border-spacing:0;width:100%;font-size:14px;line-height:1.45}
th{position:sticky;top:0;z-index:1;background:var(--paper);text-align:left;padding:0;
border-bottom:1px solid var(--line)}
th button{all:unset;box-sizing:border-box;width:100%;padding:9px 14px;cursor:pointer;
font-weight:600;white-space:nowrap}
th button:focus-visible{outline:2px solid var(--link);outline-offset:-2px}
th button{position:relative}
th button::after{position:absolute;margin-left:.15em;color:var(--soft)}
th[aria-sort=ascending] button::after{content:"\\2191"}
th[aria-sort=descending] button::after{content:"\\2193"}
td{padding:7px 14px;border-bottom:1px solid var(--line);vertical-align:top;
overflow-wrap:anywhere;max-width:36em}
td:not(.num){min-width:8em}
tr:last-child td{border-bottom:0}
tbody tr:hover td{background:var(--tint)}
th.num,td.num{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.cell{display:flex;justify-content:flex-end;align-items:center;gap:10px}
.cell>span:last-child{min-width:4em}
.bar{width:72px}
.bar i{display:block;height:9px;min-width:1px;border-radius:1px;background:var(--bar)}
.bar.neg i{background:var(--bar-neg)}
.empty{color:var(--soft);padding:10px 14px;margin:0}
footer{margin-top:72px;padding-top:20px;border-top:1px solid var(--line);font-size:14px;
color:var(--soft)}
summary{cursor:pointer}
pre{white-space:pre-wrap;overflow-wrap:anywhere;font-size:12.5px;line-height:1.5;
background:var(--tint);padding:16px;border-radius:4px}
@media (max-width:860px){body{padding:36px 24px 56px;font-size:16px}h1{font-size:29px}}
@media print{body{max-width:none;padding:0}.table{max-height:none}figure{break-inside:avoid}}
"""

SCRIPT = """
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
"""
