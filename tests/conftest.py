import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
# Child processes must find the fault knobs too.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")]
)
# On few shared cores, threads that spin while they wait make each other many times slower.
os.environ.setdefault("GOMP_SPINCOUNT", "0")

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update",
             "--disable-sync", "--no-first-run"]


@pytest.fixture(scope="session")
def shaped(tmp_path_factory):
    """Give the folder of a family's shrunk random-weight pipeline, built once a session."""
    from ldmopt.shapes import build

    folders = {}

    def folder(shape):
        if shape not in folders:
            folders[shape] = tmp_path_factory.mktemp(shape)
            build(shape, folders[shape], shrink=True)
        return str(folders[shape])

    return folder


@pytest.fixture(scope="session", autouse=True)
def features_of_their_own(tmp_path_factory):
    """Keep the user's cache of features out of the tests, and theirs out of it."""
    from ldmopt.scorers.encoders import feature_cache

    path = tmp_path_factory.mktemp("features") / "features.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feature_cache, "default_path", lambda: path)
        yield path


@pytest.fixture(scope="session")
def chromium():
    assert Path(CHROMIUM).exists(), (
        f"pages are tested in a real browser: {CHROMIUM} is missing; "
        "install it with: apt-get install chromium"
    )
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()
