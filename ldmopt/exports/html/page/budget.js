// The budget: two sliders, and the best setting of the front within them.
import { data, put } from "./pictures.js";
import { choose } from "./rule.js";
import { caption, current, name, onStep, tell } from "./steps.js";

const answer = document.getElementById("answer");
const sliders = [...document.querySelectorAll("[data-limit]")];
let chosen = null;

function limits() {
  const found = {};
  for (const slider of sliders) {
    found[slider.dataset.limit] = data.limits[slider.dataset.limit][Number(slider.value)];
  }
  return found;
}

function decide() {
  const found = limits(), before = chosen;
  for (const slider of sliders) {
    const words = data.words[slider.dataset.limit][Number(slider.value)];
    document.getElementById(`said-${slider.dataset.limit}`).textContent = words;
    slider.setAttribute("aria-valuetext", words);
  }
  const options = [found.seconds == null ? "" : ` --max-seconds ${found.seconds}`,
    found.memory == null ? "" : ` --max-memory-gb ${Number((found.memory / 1e9).toPrecision(6))}`];
  const command = document.getElementById("budget-command");
  command.textContent = command.dataset.base + options.join("");
  const row = choose(data.front, found);
  chosen = row && row.entry;
  answer.dataset.entry = row ? row.entry : "";
  answer.querySelector(".nothing").hidden = row !== null;
  answer.querySelector(".told").hidden = row === null;
  if (row && chosen !== before) tell(answer.querySelector(".told"), chosen);
  show();
}

function show() {
  const pair = answer.querySelector(".pair"), block = data.blocks[current()];
  pair.hidden = chosen === null || !block;
  if (pair.hidden) return;
  const [left, right] = pair.querySelectorAll(".well");
  put(left, data.entries[0].pictures[current()], `default, prompt: ${caption(block)}`);
  put(right, data.entries[chosen].pictures[current()], `${name(chosen)}, prompt: ${caption(block)}`);
  pair.querySelectorAll("figcaption")[1].textContent = name(chosen);
}

if (answer) {
  const command = document.getElementById("budget-command");
  command.dataset.base = command.textContent;
  for (const slider of sliders) slider.addEventListener("input", decide);
  onStep(show);
  decide();
}
