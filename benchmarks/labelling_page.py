"""How soon the labelling page shows the next pair after a choice, in real headless Chromium.

python benchmarks/labelling_page.py RUN [--pairs 60] [--every 0.4] [--round-trip 0] [--phone]
    [--size 1024]

RUN is copied first, so nothing is added to it. From the moment the key went down (the browser's own
time stamp of the event) to the first moment after the frame in which both pictures of the next
question are painted. Beside it: how long until the server had stored the answer. `--every` is the
rater's time for a choice in seconds, `--round-trip` adds network delay in milliseconds. `--size`
blows the copied pictures up and adds grain, so that files are as large as big models' pictures.
"""

from __future__ import annotations

import argparse
import shutil
import socket
import statistics
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import uvicorn
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from ldmopt.labeling.app import make_app
from ldmopt.labeling.front import chooser_of
from ldmopt.labeling.ledger import Ledger
from ldmopt.labeling.shelf import RunShelf
from ldmopt.labels import LabelStore
from ldmopt.study.folder import RunFolder

ARGUMENTS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update",
             "--disable-sync", "--no-first-run"]
PHONE = {"viewport": {"width": 360, "height": 740}, "device_scale_factor": 2, "is_mobile": True,
         "has_touch": True}
MEASURE = """() => {
  window.seen = []; window.stored = [];
  let down = 0, said = 0;
  document.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft" || event.key === "ArrowRight") down = said = event.timeStamp;
  }, true);
  new MutationObserver(() => {
    const ask = document.getElementById("ask");
    if (!ask.dataset.page || !down) return;
    const start = down;
    down = 0;
    requestAnimationFrame(() => {
      const channel = new MessageChannel();  // its message comes after the frame was painted
      channel.port1.onmessage = () => {
        const whole = [...document.querySelectorAll(".picture img")].filter((i) => i.complete);
        window.seen.push(whole.length === 2 ? performance.now() - start : Infinity);
      };
      channel.port2.postMessage(0);
    });
  }).observe(document.getElementById("ask"), {attributes: true, attributeFilter: ["data-page"]});
  new MutationObserver(() => {
    if (document.body.dataset.waiting === "0" && said) {
      window.stored.push(performance.now() - said);
      said = 0;
    }
  }).observe(document.body, {attributes: true, attributeFilter: ["data-waiting"]});
}"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--every", type=float, default=0.4, help="seconds for a choice")
    parser.add_argument("--round-trip", type=float, default=0.0, help="network delay, ms")
    parser.add_argument("--size", type=int, default=0, help="pixels a side; as they are by default")
    parser.add_argument("--phone", action="store_true", help="360 x 740 points, two pixels each")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        run = RunFolder(shutil.copytree(options.run, Path(temporary) / "run"))
        if options.size:
            enlarge(run, options.size)
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
        with LabelStore(run.labels) as store:
            ledger = Ledger(store)
            shelf = RunShelf(run, chooser_of(run, ledger.counting))
            app = make_app(ledger, shelf, wanted=10**6)
            with socket.create_server(("127.0.0.1", 0)) as listener:
                server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
                thread = threading.Thread(target=server.run, args=([listener],))
                thread.start()
                seen, stored = measure(browser, listener.getsockname()[1], options)
                browser.close()
                server.should_exit = True
                thread.join()
    tell("next pair painted", seen)
    tell("answer stored", stored)


def enlarge(run: RunFolder, size: int) -> None:
    """Replace the pictures of a copied run by large grainy ones under the same names."""
    grain = np.random.default_rng(0).normal(0, 6, (size, size, 3))
    for path in (run.path / "pictures").rglob("*.png"):
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB").resize((size, size)), dtype=float)
        Image.fromarray(np.clip(pixels + grain, 0, 255).astype(np.uint8)).save(
            path, compress_level=1)


def measure(
    browser: Browser, port: int, options: argparse.Namespace
) -> tuple[list[float], list[float]]:
    """Return milliseconds to the next pair, and to the answer being stored."""
    page = browser.new_context(**(PHONE if options.phone else {})).new_page()
    page.goto(f"http://127.0.0.1:{port}/?rater=clock")
    page.wait_for_selector("#ask[data-page='1']")
    if options.round_trip:
        page.context.new_cdp_session(page).send("Network.emulateNetworkConditions", {
            "offline": False, "latency": options.round_trip,
            "downloadThroughput": -1, "uploadThroughput": -1,
        })
    page.evaluate(MEASURE)
    for number in range(options.pairs):
        time.sleep(options.every)
        page.wait_for_selector(f"#ask[data-page='{number + 1}']")
        page.keyboard.press("ArrowLeft" if number % 2 else "ArrowRight")
    page.wait_for_selector(f"#ask[data-page='{options.pairs + 1}']")
    page.wait_for_selector("body[data-waiting='0']")
    time.sleep(0.2)
    return page.evaluate("[window.seen, window.stored]")  # type: ignore[no-any-return]


def tell(what: str, milliseconds: list[float]) -> None:
    """Print the middle and the end of a list."""
    ordered = sorted(milliseconds)
    print(f"{what:18} n {len(ordered):3}  median {statistics.median(ordered):6.1f} ms  "
          f"95 % {ordered[int(0.95 * (len(ordered) - 1))]:6.1f} ms  largest {ordered[-1]:6.1f} ms")


if __name__ == "__main__":
    main()
