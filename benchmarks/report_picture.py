"""A picture of a run's report as README shows it: the headline and the settings beside the default.

python benchmarks/report_picture.py RUN -o benchmarks/figures/report.png [--width 1200] [--prompt 1]

The report is written anew into a temporary folder and opened in headless Chromium, so nothing is
added to RUN. `--prompt` is the prompt that is shown, as the page counts them.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

import ldmopt

ARGUMENTS = ["--no-sandbox", "--disable-background-networking", "--no-first-run"]
MARGIN = 20


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--width", type=int, default=1200)
    parser.add_argument("--prompt", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        report = ldmopt.report(options.run, Path(temporary) / "report.html")
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
        page = browser.new_page(viewport={"width": options.width, "height": 800},
                                color_scheme="light")
        page.goto(report.file.as_uri())
        for _ in range(options.prompt - 1):
            page.click("#compare [data-step='1']")
        page.mouse.move(0, 0)
        shot = Path(temporary) / "shot.png"
        page.screenshot(path=shot, full_page=True, clip={
            "x": 0, "y": 0, "width": options.width, "height": _bottom(page) + MARGIN})
        with Image.open(shot) as image:
            image.convert("RGB").save(options.output, optimize=True)
        browser.close()
    print(f"{options.output}: {options.output.stat().st_size / 1e3:.0f} kB")


def _bottom(page: Page) -> int:
    """Where the cards and what is said beneath them end."""
    box = page.locator("#compare > .rail, #compare > .key").last.bounding_box()
    assert box is not None
    return round(box["y"] + box["height"])


if __name__ == "__main__":
    main()
