// One prompt and seed for the whole page: stepping anywhere steps everywhere.
import { data, put } from "./pictures.js";

let now = 0;
const heard = [];
const many = data.blocks.length;

export const current = () => now;

export function onStep(listener) {
  heard.push(listener);
}

export function caption([prompt, seed]) {
  return prompt ? `\u201c${prompt}\u201d` : `seed ${seed}`;
}

export function step(to) {
  if (!many) return;
  now = (to + many) % many;
  for (const listener of heard) listener();
}

// What a setting is called on the page.
export function name(entry) {
  const head = document.querySelector(`template[data-entry="${entry}"]`).content.querySelector("h3");
  return head.textContent.trim();
}

// Put a setting's figures into a panel.
export function tell(panel, entry) {
  const template = document.querySelector(`template[data-entry="${entry}"]`);
  panel.replaceChildren(template.content.cloneNode(true));
}

const seeds = new Set(data.blocks.map(([, seed]) => seed)).size > 1;

onStep(() => {
  const [prompt, seed] = data.blocks[now];
  for (const stepper of document.querySelectorAll(".stepper")) {
    stepper.querySelector(".prompt q").textContent = prompt;
    stepper.querySelector(".count b").textContent = now + 1;
    stepper.querySelector(".seed").textContent = seeds ? `seed ${seed}` : "";
    const slider = stepper.querySelector("input");
    if (slider) {
      slider.value = now;
      slider.setAttribute("aria-valuetext", `${now + 1} of ${many}: ${prompt}`);
    }
  }
  for (const card of document.querySelectorAll("[data-card]")) {
    const place = Number(card.dataset.card), entry = data.entries[place], win = entry.wins[now];
    const well = card.querySelector(".well"), here = card.querySelector(".here");
    if (well) put(well, entry.pictures[now], `${name(place)}, prompt: ${prompt}, seed ${seed}`);
    if (here && place) here.textContent = win === null ? "" : `preferred here: ${win.toFixed(2)}`;
    card.querySelectorAll(".pulse rect").forEach((bar) => {
      bar.classList.toggle("now", Math.floor(bar.getAttribute("x")) === now);
    });
  }
});

for (const button of document.querySelectorAll("[data-step]")) {
  button.addEventListener("click", () => step(now + Number(button.dataset.step)));
}
for (const slider of document.querySelectorAll(".stepper input")) {
  slider.addEventListener("input", () => step(Number(slider.value)));
}
for (const pulse of document.querySelectorAll(".pulse")) {
  pulse.addEventListener("click", (event) => {
    const box = pulse.getBoundingClientRect();
    step(Math.min(many - 1, Math.floor(many * (event.clientX - box.left) / box.width)));
  });
}
step(0);
