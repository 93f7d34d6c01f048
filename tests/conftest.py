"""What several test files share: the built book, and a browser to read it with."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """`jupyter-book build . -W --keep-going` on a copy of what git would hand out."""
    site = tmp_path_factory.mktemp("book")
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
    return site / "_build" / "html"


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
