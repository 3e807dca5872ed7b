// The rule of `Rulebook.recommend`: without a wanted win rate the highest within the limits, ties
// by memory, then seconds; with one the cheapest in seconds. What is unknown meets no limit.

const within = (value, limit) => limit == null || (value !== null && value <= limit);
const cost = (value) => (value === null ? Infinity : value);

function order(one, other) {
  for (let i = 0; i < one.length; i++) {
    if (one[i] !== other[i]) return one[i] < other[i] ? -1 : 1;
  }
  return 0;
}

// Return the chosen row of the front, or null where nothing fits.
export function choose(front, { seconds, memory, win } = {}) {
  const key = win == null
    ? (row) => [-row.win_rate, cost(row.peak_memory_bytes), cost(row.seconds)]
    : (row) => [cost(row.seconds), cost(row.peak_memory_bytes), -row.win_rate];
  let best = null;
  for (const row of front) {
    const fits = within(row.latency_seconds, seconds) && within(row.peak_memory_bytes, memory)
      && (win == null || row.win_rate >= win);
    if (fits && (best === null || order(key(row), key(best)) < 0)) best = row;
  }
  return best;
}
