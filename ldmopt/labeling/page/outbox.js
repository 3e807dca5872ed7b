// Answers on their way to the server: kept in this browser until the server has stored them.
//
// Each is named by rater, question and step, and the server stores a name once, so sending again
// is harmless. They go one at a time, in order. Every page has a box of its own under its own key;
// what an earlier page left behind (closed or reloaded while the server was away) is taken over.

const RETRY_MS = [400, 800, 1600, 3000, 5000];
const TIMEOUT_MS = 10000;

export class Unreachable extends Error {}

export class Refused extends Error {
  constructor(status, reason) {
    super(reason);
    this.status = status;
  }
}

// Ask the server for JSON. Throws Unreachable or Refused.
export async function ask(path, body) {
  let response, data;
  try {
    response = await fetch(path, {
      method: body ? "POST" : "GET",
      headers: body ? { "Content-Type": "application/json" } : {},
      body: body && JSON.stringify(body),
      cache: "no-store",
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    data = await response.json();
  } catch (error) {
    throw new Unreachable(String(error));
  }
  if (response.status >= 500) throw new Unreachable(data.error);
  if (!response.ok) throw new Refused(response.status, data.error);
  return data;
}

export class Outbox {
  // heard(event, detail) is called with "stored", "refused", "stuck" (unreachable, or may not).
  constructor(run, rater, heard) {
    this.prefix = `ldmopt/${run}/${rater}/`;
    this.key = this.prefix + Date.now().toString(36).padStart(9, "0") + Math.random().toString(36).slice(2);
    this.rater = rater;
    this.heard = heard;
    this.items = [];
    this.busy = false;
    this.failures = 0;
    this.timer = 0;
    this.adopt();
  }

  adopt() {
    try {
      const keys = Object.keys(localStorage).filter((key) => key.startsWith(this.prefix)).sort();
      for (const key of keys) this.items.push(...JSON.parse(localStorage.getItem(key)));
      this.keep();
      for (const key of keys) localStorage.removeItem(key);
    } catch { /* no storage in this browser, or not ours: answers wait in memory */ }
  }

  keep() {
    try {
      if (this.items.length) localStorage.setItem(this.key, JSON.stringify(this.items));
      else localStorage.removeItem(this.key);
    } catch { /* as above */ }
  }

  get size() {
    return this.items.length;
  }

  add(row) {
    this.items.push(row);
    this.keep();
    this.send();
  }

  async send() {
    if (this.busy) return;
    clearTimeout(this.timer);
    this.busy = true;
    while (this.items.length) {
      try {
        const progress = await ask("api/answers", { rater: this.rater, ...this.items[0] });
        this.failures = 0;
        this.shift();
        this.heard("stored", progress);
      } catch (error) {
        if (error instanceof Refused && ![401, 403, 410].includes(error.status)) {
          this.shift();
          this.heard("refused", error);
          continue;
        }
        this.heard("stuck", error);
        this.timer = setTimeout(() => this.send(), RETRY_MS[Math.min(this.failures++, 4)]);
        break;
      }
    }
    this.busy = false;
  }

  shift() {
    this.items.shift();
    this.keep();
  }
}
