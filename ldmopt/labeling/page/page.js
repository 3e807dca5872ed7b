// The labelling page: shows a pair, takes the answer, shows the next at once, and lets the outbox
// see to it that the server stores every answer.

import { ask, Outbox, Refused } from "./outbox.js";
import { fit, pair, preload } from "./pictures.js";

const $ = (id) => document.getElementById(id);
const SLIP_MS = 120; // an answer sooner than this after a pair appeared was meant for the last one
const QUIET_MS = 700; // an answer that is stored sooner than this needs no words
const WORDS = { left: "Left", right: "Right", tie: "Tie", "both-bad": "Both bad" };
const KEYS = {
  ArrowLeft: "left", ArrowRight: "right", ArrowDown: "tie", t: "tie", b: "both-bad",
  u: "undo", Backspace: "undo", p: "pause", "?": "help", h: "help",
};

let run = "", rater = "", outbox = null;
let current = null; // the question that is being shown
let next = [], past = [];
let answered = 0, wanted = 1, useful = null;
let more = false; // goes on past what was wanted
let shownAt = 0, edits = 0, asking = false, askTimer = 0, showing = 0;

// ---- Views

function view(name) {
  if (document.body.dataset.view === name) return;
  document.body.dataset.view = name;
  for (const main of document.querySelectorAll("main")) main.hidden = main.id !== name;
  $(name).querySelector("h1").focus({ preventScroll: true });
}

function broken(words) {
  $("broken-words").textContent = words;
  view("broken");
}

function say(words, alert = false) {
  for (const id of ["status", "done-status"]) {
    $(id).textContent = words;
    $(id).classList.toggle("alert", alert);
  }
}

function progress() {
  const goal = useful === null ? wanted : Math.min(wanted, answered + useful);
  const number = document.createElement("b");
  number.textContent = answered;
  $("progress").replaceChildren(number, answered > goal ? " answered" : ` of ${goal} answered`);
  $("more").textContent = useful === null ? "" : ` · ${useful.toLocaleString("en")} pairs still useful`;
  $("bar").value = goal ? Math.min(1, answered / goal) : 1;
  document.querySelectorAll("[data-do=undo]").forEach((button) => { button.disabled = !past.length; });
}

function saved() {
  if (!outbox.size) return "Everything is stored.";
  return `${count(outbox.size)} not stored yet; kept in this browser and sent again by itself.`;
}

// The word for an answer, as the pictures lie now.
function named(preferred) {
  const upright = $("ask").classList.contains("upright");
  return (upright && { left: "Upper", right: "Lower" }[preferred]) || WORDS[preferred];
}

const count = (number) => `${number} answer${number === 1 ? "" : "s"}`;

// ---- The question

// Show what comes next: a question, the end, or that we wait.
function turn() {
  const token = ++showing;
  if (!current) current = next.shift() ?? null;
  progress();
  if ((answered >= wanted && !more) || (!current && useful === 0 && !outbox.size)) return finish();
  view("ask");
  if (!current) return wait(outbox.size ? "Waiting for the server…" : "Fetching the next pictures…");
  preload([current, ...next, ...past.slice(-1)]);
  const images = pair(current);
  if (Array.isArray(images)) return show(images);
  wait("Fetching the pictures…");
  images.then((both) => { if (token === showing) show(both); }).catch(() => {
    if (token !== showing) return;
    wait("These pictures cannot be fetched; trying again.");
    setTimeout(() => { if (token === showing) turn(); }, 2000);
  });
}

function show([left, right]) {
  for (const [place, image] of [[$("left"), left], [$("right"), right]]) {
    if (place.firstChild !== image) place.replaceChildren(image);
    place.disabled = false;
    fit(image, place);
  }
  $("waiting").hidden = true;
  words(current.prompt || "(no words were given)");
  $("ask").dataset.page = current.page;
  shownAt = performance.now();
}

// Put the prompt into its place, whose height never changes; a long one is set smaller.
function words(prompt) {
  const place = $("prompt");
  if (place.textContent === prompt) return;
  place.classList.remove("long");
  place.textContent = prompt;
  place.classList.toggle("long", place.scrollHeight > place.clientHeight);
}

function wait(reason) {
  words("");
  for (const place of [$("left"), $("right")]) {
    place.replaceChildren();
    place.disabled = true;
  }
  $("waiting").hidden = false;
  $("waiting").textContent = reason;
  delete $("ask").dataset.page;
  shownAt = Infinity;
}

function finish() {
  const all = useful === 0;
  $("done").querySelector("h1").textContent = `Thank you, ${rater}.`;
  $("done-words").textContent = all
    ? `You have answered ${answered} questions. There is no further pair that would teach anything.`
    : `You have answered ${answered} questions, as many as were hoped for. `
      + "You can close this page, or go on: every further answer helps a little.";
  document.querySelector("#done [data-do=more]").hidden = all;
  say(saved());
  view("done");
}

// ---- What the rater does

function choose(preferred) {
  if (!current || performance.now() - shownAt < SLIP_MS) return;
  const row = { page: current.page, step: current.step, left: current.left, right: current.right, preferred };
  past.push({ ...current, step: current.step + 1, preferred });
  current = null;
  edits++;
  answered++;
  if (useful) useful--;
  turn();
  flash(preferred);
  say(`${named(preferred)} ✓`);
  send(row);
}

function undo() {
  const last = past.pop();
  if (!last) return say("There is nothing to take back.");
  if (current) next.unshift(current);
  current = { ...last, step: last.step + 1 };
  edits++;
  answered--;
  if (useful !== null) useful++;
  if (answered < wanted) more = false;
  turn();
  say(`Taken back: ${named(last.preferred).toLowerCase()}. Choose again.`);
  send({ page: last.page, step: last.step, left: last.left, right: last.right, preferred: "withdrawn" });
}

function flash(preferred) {
  const touched = document.querySelectorAll(`[data-answer=${preferred}]`);
  touched.forEach((button) => button.classList.add("chosen"));
  setTimeout(() => touched.forEach((button) => button.classList.remove("chosen")), 160);
}

function pause() {
  const rest = Math.max(0, Math.min(wanted - answered, useful ?? Infinity));
  $("pause-words").textContent = `${count(answered)} given${rest ? `, ${rest} more hoped for` : ""}. `
    + (useful === null ? "" : `${useful.toLocaleString("en")} pairs are still useful. `) + saved();
  $("pause").showModal();
}

function leave() {
  $("pause").close();
  outbox?.send();
  history.replaceState(null, "", location.pathname);
  location.reload();
}

const DO = {
  undo, pause, leave,
  help: () => $("help").showModal(),
  more: () => { more = true; turn(); top(); },
  reload: () => location.reload(),
};

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-do], [data-answer]");
  if (!button || button.disabled) return;
  if (button.dataset.answer) choose(button.dataset.answer);
  else DO[button.dataset.do]();
});

// Where the pointer rests means nothing while somebody answers by keys.
document.addEventListener("pointermove", () => { delete document.body.dataset.by; });

document.addEventListener("keydown", (event) => {
  document.body.dataset.by = "keys";
  const where = document.body.dataset.view;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const open = document.querySelector("dialog[open]");
  if (open) {
    if (open.id === "pause" && key === "p" && !event.repeat) open.close();
    return;
  }
  if (where !== "ask" && where !== "done") return;
  const back = (event.ctrlKey || event.metaKey) && key === "z";
  if (!back && (event.ctrlKey || event.metaKey || event.altKey)) return;
  const what = back ? "undo" : KEYS[key];
  if (!what || (where === "done" && what !== "undo")) return;
  event.preventDefault();
  if (event.repeat) return; // a key held down is one answer
  if (what in WORDS) choose(what);
  else DO[what]();
});

new ResizeObserver(() => {
  const upright = getComputedStyle($("pictures")).gridTemplateColumns.trim().split(" ").length === 1;
  $("ask").classList.toggle("upright", upright);
  $("left").setAttribute("aria-label", upright ? "The upper picture is better" : "The left picture is better");
  $("right").setAttribute("aria-label", upright ? "The lower picture is better" : "The right picture is better");
  for (const place of [$("left"), $("right")]) {
    if (place.firstChild) fit(place.firstChild, place);
  }
}).observe($("pair"));

// ---- The server

function send(row) {
  outbox.add(row);
  document.body.dataset.waiting = outbox.size;
}

function heard(event, detail) {
  if (event === "stored") {
    if (!outbox.size) {
      if ($("status").classList.contains("alert")) say("Everything is stored.");
      if (document.body.dataset.view === "done") say(saved());
      top();
    }
  } else if (event === "refused") {
    say(`Not taken: ${detail.message}`, true);
    current = null;
    next = [];
    past = [];
    if (!outbox.size) top();
    turn();
  } else {
    const why = detail instanceof Refused ? detail.message : "The server does not answer";
    setTimeout(() => {
      if (outbox.size) say(`${why}. ${count(outbox.size)} kept here until it is back.`, true);
    }, outbox.failures ? 0 : QUIET_MS);
  }
  document.body.dataset.waiting = outbox.size;
}

// Fetch progress and further questions. What comes back is taken only if nothing was answered
// meanwhile and everything was stored: else it would tell an old state, and is asked for again.
async function top() {
  if (asking || outbox.size) return;
  clearTimeout(askTimer);
  asking = true;
  const before = edits;
  let wait = 0;
  try {
    const queue = await ask(`api/queue?rater=${encodeURIComponent(rater)}`);
    if (edits === before && !outbox.size) take(queue);
    else if (!outbox.size) wait = 1;
  } catch (error) {
    wait = 1500;
    if (error instanceof Refused && !current) return broken(error.message);
    if (!current) say(error instanceof Refused ? error.message : "The server does not answer; trying again.", true);
  } finally {
    asking = false;
  }
  if (wait) askTimer = setTimeout(top, wait);
}

function take(queue) {
  ({ answered, wanted, useful, past } = queue);
  const same = current && queue.next.find((q) => q.page === current.page && q.step === current.step);
  next = queue.next.filter((question) => question !== same);
  if (same) {
    progress();
    preload([current, ...next, ...past.slice(-1)]);
    if (answered >= wanted && !more) finish();
  } else {
    current = null;
    turn();
  }
}

async function begin(name) {
  rater = name;
  try { localStorage.setItem("ldmopt/rater", rater); } catch { /* no storage */ }
  history.replaceState(null, "", `?rater=${encodeURIComponent(rater)}`);
  document.title = `${rater} · Which picture is better?`;
  outbox = new Outbox(run, rater, heard);
  useful = null;
  view("ask");
  wait("Fetching the first pictures…");
  if (outbox.size) outbox.send();
  else top();
}

function start(raters) {
  let last = "";
  try { last = localStorage.getItem("ldmopt/rater") ?? ""; } catch { /* no storage */ }
  $("name").value = last;
  $("known").hidden = !raters.length;
  $("raters").replaceChildren(...raters.map(({ rater: name, answered: given }) => {
    const button = document.createElement("button");
    const small = document.createElement("small");
    small.textContent = given;
    small.setAttribute("aria-label", count(given));
    button.type = "button";
    button.append(name, small);
    button.addEventListener("click", () => begin(name));
    const item = document.createElement("li");
    item.append(button);
    return item;
  }));
  view("start");
  $("name").select();
}

$("who").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = $("name").value.trim().replace(/\s+/g, " ").normalize("NFC");
  if (name) begin(name);
});

try {
  const found = await ask("api/raters");
  run = found.run;
  const name = new URLSearchParams(location.search).get("rater");
  if (name) begin(name);
  else start(found.raters);
} catch (error) {
  broken(error instanceof Refused ? error.message : "The server does not answer.");
}
