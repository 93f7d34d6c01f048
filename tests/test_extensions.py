"""The book's own extensions, in books of a page or two: what a build says that finds most of its pages as they were, or fails."""

import base64
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from handpose import recorded
from handpose.notebook import made_of

ROOT = Path(__file__).parents[1]


def notebook(path, *cells):
    path.parent.mkdir(parents=True, exist_ok=True)
    page = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(cell) for cell in cells])
    page.metadata |= {"kernelspec": {"name": "python3", "display_name": "Python 3"}, "language_info": {"name": "python"}}
    nbformat.write(page, path)
    return page


@pytest.fixture
def site(tmp_path):
    """Two executed pages with their source notebooks, and prose."""
    for name in ("refine", "align"):
        source = tmp_path / "notebooks" / f"{name}.ipynb"
        page = notebook(source, f"# {name}", "Words.")
        page.metadata["handpose"] = made_of(source)
        (tmp_path / "book" / "runs").mkdir(parents=True, exist_ok=True)
        nbformat.write(page, tmp_path / "book" / "runs" / f"{name}.ipynb")
    (tmp_path / "index.md").write_text("# Prose\n\n```{toctree}\nbook/runs/refine\nbook/runs/align\n```\n")
    (tmp_path / "conf.py").write_text(
        "import os\n"
        "extensions = ['myst_nb', 'offline_assets', 'recorded', 'stale']\n"
        "exclude_patterns = ['_build', 'notebooks']\n"
        "nb_execution_mode = 'off'\n"
        "def fail(app, docname, source):\n"
        "    if 'END' in os.environ:\n"
        "        os._exit(9) if os.environ['END'] == 'killed' else 1 / 0\n"
        "def setup(app):\n"
        "    app.connect('source-read', fail)\n"
    )
    recorded.write_manifest(tmp_path / "book" / "runs")
    return tmp_path


def build(site, *options, **environment):
    """Build what has changed, warnings being errors; what Sphinx says."""
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", *options, site, site / "_build" / "html"]
    path = os.pathsep.join(map(str, (ROOT / "book" / "_ext", ROOT)))
    return subprocess.run(command, env=os.environ | {"PYTHONPATH": path} | environment, capture_output=True, text=True)


def built(site, *options):
    done = build(site, *options)
    assert done.returncode == 0 and "WARNING" not in done.stderr, done.stdout + done.stderr
    return {name: (site / "_build" / "html" / "book" / "runs" / f"{name}.html").read_text() for name in ("refine", "align")}


@pytest.mark.parametrize("options", [(), ("-j", "2")])
def test_a_page_that_became_stale_since_the_last_build_says_so_in_the_next(site, options):
    assert "stale" not in "".join(built(site, *options).values())
    source, text = site / "notebooks" / "refine.ipynb", (site / "notebooks" / "refine.ipynb").read_text()
    source.write_text(text.replace("Words.", "Other words."))
    pages = built(site, *options)
    assert "This page is stale: its notebook refine.ipynb has changed. Make it again" in pages["refine"]
    assert "stale" not in pages["align"]
    source.unlink()
    assert "This page is stale: its notebook refine.ipynb is gone" in built(site, *options)["refine"]
    source.write_text(text)
    assert "stale" not in "".join(built(site, *options).values())


def test_pages_that_are_as_they_were_are_not_read_anew(site):
    (site / "notebooks" / "align.ipynb").unlink()  # one of them stale all the time
    assert "is gone" in built(site)["align"]
    done = build(site)
    assert done.returncode == 0 and "0 added, 0 changed, 0 removed" in done.stdout and "is gone" in built(site)["align"]


@pytest.mark.parametrize("end", ["killed", "failed"])
def test_a_build_that_does_not_end_well_leaves_no_sign_that_another_runs_book_is_there(site, end):
    built(site)
    html = site / "_build" / "html"
    (html / ".run-synthetic-quick-seed0").touch()
    assert build(site, "-a", "-E", END=end).returncode != 0
    assert {path.name for path in html.glob(".[ru]*")} == {".unfinished"}
    built(site)
    assert not list(html.glob(".[ru]*"))


def test_a_build_that_touches_no_page_leaves_the_sign(site):
    built(site)
    marker = site / "_build" / "html" / ".run-synthetic-quick-seed0"
    marker.touch()
    (site / "book" / "runs" / "refine.ipynb").unlink()
    done = build(site)
    assert done.returncode != 0 and "refine.ipynb is missing: put it back" in done.stderr and marker.exists()


def test_what_is_printed_when_the_book_is_built_is_printed_in_each_build(site):
    conf, index, told = site / "conf.py", site / "index.md", site / "told.txt"
    conf.write_text(conf.read_text().replace("'recorded'", "'printed', 'recorded'"))
    index.write_text(index.read_text() + f"\n```{{printed}} base64 -e {told}\n```\n")
    for words in (b"first words", b"other words"):
        told.write_bytes(words)
        built(site)
        assert base64.b64encode(words).decode() in (site / "_build" / "html" / "index.html").read_text()
