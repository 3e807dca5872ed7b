// Pictures fetched and decoded before they are needed, so that the next pair is there at once.

const cache = new Map();

function load(digest) {
  let entry = cache.get(digest);
  if (!entry) {
    const image = new Image();
    image.alt = "";
    image.draggable = false;
    image.src = `pictures/${digest}.png`;
    entry = { image, ready: false };
    entry.done = image.decode().then(() => { entry.ready = true; });
    entry.done.catch(() => cache.delete(digest));
    cache.set(digest, entry);
  }
  return entry;
}

// Fetch the pictures of these questions and forget all others.
export function preload(questions) {
  const wanted = new Set(questions.flatMap((question) => [question.left, question.right]));
  for (const digest of cache.keys()) if (!wanted.has(digest)) cache.delete(digest);
  for (const digest of wanted) load(digest);
}

// Return both images at once where they are decoded, else a promise of them.
export function pair(question) {
  const both = [load(question.left), load(question.right)];
  const images = both.map((entry) => entry.image);
  if (both.every((entry) => entry.ready)) return images;
  return Promise.all(both.map((entry) => entry.done)).then(() => images);
}

// Show small pictures at a whole multiple of their size, pixel for pixel: any smoothing would
// paint over the noise and blur that are being judged. Large ones fill their place.
export function fit(image, place) {
  const ratio = window.devicePixelRatio || 1;
  const times = Math.floor(ratio * Math.min(
    place.clientWidth / image.naturalWidth, place.clientHeight / image.naturalHeight));
  const crisp = times >= 2;
  image.className = crisp ? "crisp" : "whole";
  image.style.width = crisp ? `${image.naturalWidth * times / ratio}px` : "";
  image.style.height = crisp ? `${image.naturalHeight * times / ratio}px` : "";
}
