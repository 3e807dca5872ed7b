// Pictures: each is in the page once and is put wherever it is to be seen.

export const data = JSON.parse(document.getElementById("data").textContent);
const album = JSON.parse(document.getElementById("album").textContent);

export function source(place) {
  return `data:image/webp;base64,${album[place]}`;
}

// Show a picture in its well; `found` is [number, width, height, crisp], or null for none.
export function put(well, found, alt) {
  let image = well.querySelector("img");
  if (!found) {
    if (image) well.replaceChildren(Object.assign(document.createElement("span"),
      { className: "none", textContent: "no picture" }));
    return;
  }
  if (!image) {
    image = document.createElement("img");
    well.replaceChildren(image);
  }
  const [place, width, height, crisp] = found;
  image.src = source(place);
  image.alt = alt;
  image.width = width;
  image.height = height;
  image.className = crisp ? "crisp" : "";
  fit(image, well);
}

// Few pixels are shown as they are, each the same whole number of screen pixels: any smoothing
// would blur what is being judged.
function fit(image, well) {
  const crisp = image.classList.contains("crisp");
  well.classList.toggle("crisp", crisp);
  if (!crisp) {
    image.style.width = image.style.height = "";
    return;
  }
  const ratio = window.devicePixelRatio || 1;
  const [width, height] = [image.getAttribute("width"), image.getAttribute("height")].map(Number);
  const times = Math.floor(ratio * well.clientWidth / width);
  image.style.width = times > 0 ? `${width * times / ratio}px` : "";
  image.style.height = times > 0 ? `${height * times / ratio}px` : "";
}

const sizes = new ResizeObserver((changed) => {
  for (const { target } of changed) {
    const image = target.querySelector("img");
    if (image) fit(image, target);
  }
});
for (const well of document.querySelectorAll(".well")) sizes.observe(well);
for (const image of document.querySelectorAll("img[data-picture]")) {
  image.src = source(image.dataset.picture);
}
