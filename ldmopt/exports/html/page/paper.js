// Strips of other prompts, light and dark, where one is on the page, and paper.

for (const strip of document.querySelectorAll("[data-strip]")) {
  const rows = [...strip.querySelectorAll(".frames")];
  strip.querySelector("[data-other]")?.addEventListener("click", () => {
    const at = rows.findIndex((row) => !row.hidden), next = (at + 1) % rows.length;
    rows[at].hidden = true;
    rows[next].hidden = false;
    const label = rows[next].getAttribute("aria-label");
    strip.querySelector(".which q").textContent = label.slice(label.indexOf("prompt: ") + 8);
  });
}

const WORDS = { auto: "as the system has them", light: "light", dark: "dark" };
const theme = document.getElementById("theme");

function colours(name) {
  document.documentElement.dataset.theme = name;
  theme.querySelector("span").textContent = name[0].toUpperCase() + name.slice(1);
  theme.setAttribute("aria-label", `Colours: ${WORDS[name]}`);
  try { localStorage.setItem("ldmopt/report/theme", name); } catch { /* not kept, then */ }
}

theme.addEventListener("click", () => {
  const names = Object.keys(WORDS), now = document.documentElement.dataset.theme ?? "auto";
  colours(names[(names.indexOf(now) + 1) % names.length]);
});
try {
  const kept = localStorage.getItem("ldmopt/report/theme");
  if (kept in WORDS) colours(kept);
} catch { /* no storage here */ }

const links = [...document.querySelectorAll(".links a")];
const here = new IntersectionObserver((seen) => {
  for (const { target, isIntersecting } of seen) {
    if (!isIntersecting) continue;
    for (const link of links) {
      if (link.hash === `#${target.id}`) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  }
}, { rootMargin: "-20% 0px -75% 0px" });
for (const section of document.querySelectorAll("main section")) here.observe(section);

const opened = [];
addEventListener("beforeprint", () => {
  opened.push(...document.querySelectorAll("details:not([open])"));
  for (const box of opened) box.open = true;
});
addEventListener("afterprint", () => {
  for (const box of opened.splice(0)) box.open = false;
});
