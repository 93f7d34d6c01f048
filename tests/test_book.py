"""The book of the recorded run, built from a clean state and opened in a real browser with the network cut off."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from handpose import book

ROOT = Path(__file__).parents[1]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
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


def pages():
    return [line.split("file:")[-1].split("root:")[-1].strip() for line in (ROOT / "_toc.yml").read_text().splitlines()
            if "file:" in line or "root:" in line]  # fmt: skip


def test_every_page_is_there(built):
    assert len(pages()) > 10
    for page in pages():
        assert (built / f"{page}.html").exists()


def test_nothing_is_asked_of_the_network(built):
    loads = re.compile(r"""<(?:script|img|iframe|link)\b[^>]*?\b(?:src|href)=["'](?:https?:)?//[^"']+""")
    for path in built.rglob("*.html"):
        assert not [found for found in loads.findall(path.read_text()) if 'rel="canonical"' not in found], path
    for path in built.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(?:https?:)?//", path.read_text()), path


def test_assets_come_with_the_book(built):
    vendor = built / "_static" / "vendor"
    assert (vendor / "plotly.min.js").stat().st_size > 1e6
    assert (vendor / "mathjax" / "tex-mml-chtml.js").exists()
    assert list((vendor / "mathjax" / "output" / "chtml" / "fonts").rglob("*.woff*"))


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("page, figures, maths", [("book/runs/results", 2, False), ("book/runs/row-D3", 2, False), ("book/method", 0, True)])
def test_figures_and_equations_are_drawn_offline(built, page, figures, maths, tmp_path):
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
               "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
               "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={tmp_path}", "--virtual-time-budget=20000",
               "--dump-dom", (built / f"{page}.html").as_uri()]  # fmt: skip
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
    assert dom.count("js-plotly-plot") == figures
    assert dom.count('class="main-svg"') >= figures
    assert ("gl-container" in dom or "<canvas" in dom) == (figures > 0)
    assert "WebGL is not supported" not in dom
    assert ("mjx-container" in dom) == maths


def test_our_results_on_the_landing_page_are_those_of_the_recorded_run(built):
    """Nothing is typed: what the page shows is what the run cards hold."""
    text = re.sub(r"<[^>]+>", "", (built / "book" / "intro.html").read_text())
    cards = [book.read_json(path) for path in (ROOT / "book" / "runs").glob("*/run.json")]
    assert {card["row"] for card in cards} == {"baseline", "D3"}
    for card in cards:
        assert card["metrics"]["mepe"] < 0.6 * card["mean_pose"]["mepe"]
        assert f"{card['metrics']['mepe']:.1f}" in text
        assert card["preset"] in text


def test_an_unfinished_run_is_not_recorded(tmp_path):
    before = sorted(path.name for path in (ROOT / "book" / "runs").iterdir())
    with pytest.raises(FileNotFoundError, match="no page data"):
        book.record(tmp_path)
    assert sorted(path.name for path in (ROOT / "book" / "runs").iterdir()) == before


def test_a_page_that_is_missing_is_said(tmp_path):
    (tmp_path / "pages").mkdir()
    with pytest.raises(FileNotFoundError, match="no page data"):
        book.stage(tmp_path / "pages", tmp_path / "site")
