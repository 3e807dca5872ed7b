// The front: pointing at a setting, or walking to it by arrow keys, shows its pictures.
import { data, put } from "./pictures.js";
import { caption, current, name, onStep, step, tell } from "./steps.js";

const plot = document.getElementById("plot");
const panel = document.getElementById("panel");
let shown = 0, turn = 0;

function look(dot) {
  for (const other of plot.querySelectorAll(".chosen")) other.classList.remove("chosen");
  dot.classList.add("chosen");
  shown = Number(dot.dataset.dot);
  tell(panel.querySelector(".told"), shown);
  paint();
}

// Settings of the search are seen with prompts of the search.
function paint() {
  const tried = shown >= data.known;
  const blocks = tried ? data.searched : data.blocks;
  const at = tried ? turn % Math.max(1, blocks.length) : current();
  const pair = panel.querySelector(".pair"), [left, right] = pair.querySelectorAll("figure");
  const own = data.entries[shown].pictures[at];
  pair.hidden = !blocks.length || !(own || data.entries[0].pictures[at]);
  panel.querySelector(".steps").hidden = pair.hidden;
  if (pair.hidden) return;
  const words = caption(blocks[at]);
  put(left.querySelector(".well"), tried ? data.default[at] : data.entries[0].pictures[at],
    `default, prompt: ${words}`);
  right.hidden = shown === 0;
  put(right.querySelector(".well"), own, `${name(shown)}, prompt: ${words}`);
  const win = data.entries[shown].wins[at];
  right.querySelector("figcaption").textContent =
    name(shown) + (win == null ? "" : `, preferred here: ${win.toFixed(2)}`);
  panel.querySelector(".prompt").textContent = words;
}

function walk(event) {
  const dots = [...plot.querySelectorAll(".dot")].sort((one, other) => centre(one) - centre(other));
  const at = dots.indexOf(event.target.closest(".dot"));
  const to = { ArrowRight: at + 1, ArrowUp: at + 1, ArrowLeft: at - 1, ArrowDown: at - 1, Home: 0,
    End: dots.length - 1 }[event.key];
  if (to === undefined || !dots[to]) return;
  event.preventDefault();
  for (const dot of dots) dot.setAttribute("tabindex", -1);
  dots[to].setAttribute("tabindex", 0);
  dots[to].focus();
}

const centre = (dot) => parseFloat(dot.querySelector(".reach").getAttribute("cx"));

if (plot) {
  for (const dot of plot.querySelectorAll(".dot")) {
    for (const kind of ["pointerenter", "focus", "click"]) dot.addEventListener(kind, () => look(dot));
  }
  plot.addEventListener("keydown", walk);
  for (const button of panel.querySelectorAll("[data-turn]")) {
    button.addEventListener("click", () => {
      if (shown < data.known) return step(current() + Number(button.dataset.turn));
      turn += Number(button.dataset.turn) + data.searched.length;
      paint();
    });
  }
  onStep(paint);
  look(plot.querySelector(".confirmed") ?? plot.querySelector(".dot"));
}
