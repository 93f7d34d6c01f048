"""What several test files share: the built book, and a browser to read it with."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

from handpose.records import only_one

ROOT = Path(__file__).parents[1]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

# The same examples in every run, so that what passed once does not fail elsewhere; `--hypothesis-profile=default` looks for others.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

# Lines count in the tests' own processes, which run nearly all of them; commands and notebooks would start a third slower for it.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.pop("COVERAGE_PROCESS_CONFIG", None)

#: Files that take minutes, the longest first: where several workers share the tests, none begins one of them at the end.
LONG = ("test_resume", "test_browser", "test_commands", "test_notebooks", "test_workflows", "test_train", "test_predict")


def pytest_collection_modifyitems(items):
    """Long files first; the order within a file stays."""
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """`jupyter-book build . -W --keep-going` on a copy of what git would hand out: once, for all workers together."""
    folder = tmp_path_factory.getbasetemp()
    site = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "book"
    with only_one(site):
        if not (site / "whole").exists():
            shutil.rmtree(site, ignore_errors=True)
            build(site)
            (site / "whole").touch()
    return site / "_build" / "html"


def build(site):
    site.mkdir()
    for name in ("_config.yml", "_toc.yml", "README.md"):
        shutil.copy(ROOT / name, site)
    for name in ("book", "handpose", "notebooks", "tests"):
        shutil.copytree(ROOT / name, site / name, ignore=shutil.ignore_patterns("__pycache__"))
    for folder in (".pytest_cache", ".venv/lib", "runs/data"):  # what lies about in a checkout that was used
        (site / folder).mkdir(parents=True)
        (site / folder / "README.md").write_text("# Not a page\n")
    command = [Path(sys.executable).with_name("jupyter-book"), "build", ".", "-W", "--keep-going"]
    result = subprocess.run(command, cwd=site, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "WARNING" not in result.stdout + result.stderr


@pytest.fixture(scope="session")
def chromium_options():
    """How a Chromium is started that draws 3D in software."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    return {"executable_path": CHROMIUM, "args": ["--no-sandbox", "--disable-gpu", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]}


@pytest.fixture(scope="session")
def browser(chromium_options):
    """One Chromium for the whole session, drawing 3D in software."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(**chromium_options)
        yield chromium
        chromium.close()
