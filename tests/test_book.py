"""The book of the recorded run, built from a clean state. `test_browser.py` opens it in a real browser."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest

from handpose import book, recorded
from handpose.experiments import CONTROLS, PEERS, ROWS
from handpose.records import read_json, write_json
from handpose.results import RECORDED, Results
from handpose.runs import prepare_data

ROOT = Path(__file__).parents[1]
RUN = RECORDED / "synthetic-desktop"


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


def test_our_results_on_the_landing_page_are_those_of_the_recorded_run(built):
    """Nothing is typed: what the page shows is what the stored predictions give."""
    text = re.sub(r"<[^>]+>", "", (built / "book" / "intro.html").read_text())
    results = Results(RUN)
    for row in ("baseline", "D3"):
        mean = np.mean([results.errors(row, seed).mean() for seed in results.seeds(row)])
        assert f"{mean:.1f}" in text
        assert mean < 0.6 * results.errors("mean pose", 0).mean()
    assert results[row, 0].card["preset"] in text


def test_the_recorded_run_is_whole():
    results = Results(RUN)
    for row in (*ROWS, *CONTROLS):
        assert results.seeds(row) == [0, 1, 2]
        for seed in (0, 1, 2):
            card = results[row, seed].card
            kept = results.errors(row, seed).mean()
            assert card["metrics"]["mepe"] == pytest.approx(kept, abs=0.03), "prediction and card disagree"
    floor = results.errors("mean pose", 0).mean()
    assert np.mean([results.errors("D3", seed).mean() for seed in (0, 1, 2)]) < 0.45 * floor
    for row in PEERS:
        assert results.seeds(row), f"{row} is not recorded"
        for seed in results.seeds(row):
            assert results[row, seed].card["metrics"]["mepe"] == pytest.approx(results.errors(row, seed).mean(), abs=0.03)
            assert results.errors(row, seed).mean() < 0.75 * floor, row


def test_the_recorded_run_is_small():
    """25 MB for the rows of Tables 1 and 2 and all their pages, 8 more for the methods of Table 3, 21 for runs of other sizes and data."""
    sizes = {path: path.stat().st_size for path in (ROOT / "book" / "runs").rglob("*") if path.is_file()}
    pages = {*recorded.BESIDE, "change_row"}
    other = {path: size for path, size in sizes.items() if path.stem in pages or ("results" in path.parts and not _desktop(path))}
    rest = {path: size for path, size in sizes.items() if path not in other}
    methods = sum(size for path, size in rest.items() if any(row in str(path) for row in PEERS) or path.name == "peers.ipynb")
    assert sum(rest.values()) - methods < 25e6 and methods < 8e6 and sum(other.values()) < 21e6
    assert all(path.stat().st_size < 1.5e6 for path in (ROOT / "book" / "runs").glob("*.ipynb"))


def _desktop(path):
    return any(part.partition("+")[0] == "synthetic-desktop" for part in path.parts)


def test_nothing_in_the_recorded_run_is_stale():
    """A change of code, notebook or preset behind a recorded result: run `make pages`, or record a new run."""
    assert book.stale() == {}


def test_under_every_figure_of_a_run_stands_its_run_card():
    """In the cell that draws it, or in the next."""

    def holds(cell, *kinds, text=()):
        bundles = [output.get("data", {}) for output in cell.get("outputs", [])]
        return any(set(kinds) & set(bundle) or bundle.get("text/plain", "").startswith(text) for bundle in bundles)

    figures, bare = 0, []
    for page in sorted((ROOT / "book" / "runs").glob("*.ipynb")):
        cells = [cell for cell in nbformat.read(page, 4).cells if cell.cell_type == "code"]
        for cell, following in zip(cells, [*cells[1:], {}]):
            of_run = page.stem not in ("data", "datasets") and "figures_losses" not in cell.source  # those are of frames
            if of_run and holds(cell, "image/png", "image/jpeg", text="<figure "):
                figures += 1
                if not any(holds(one, text="<run card>") for one in (cell, following)):
                    bare.append(f"{page.stem}: {cell.source[:60]}")
    assert figures > 200 and not bare


def test_the_recorded_run_was_made_of_the_hands_that_the_code_renders_now(tmp_path):
    results = Results(RUN)
    data = prepare_data("desktop+training=2+evaluation=8", output_dir=tmp_path, progress=False)
    pose, root = data.evaluation.target, 0.5 * (data.evaluation.target[:, :1] + data.evaluation.target[:, 9:10])
    assert np.abs(pose - root - results.target[:8]).max() < 0.06
    difference = np.abs(data.evaluation.crops[:8].astype(float) - results.sample)
    assert difference.mean() < 1  # other processors may round a grey value otherwise


def test_a_stale_page_says_so(built, tmp_path):
    assert "This page is stale" not in (built / "book" / "runs" / "refine.html").read_text()
    site = tmp_path / "site"
    shutil.copytree(built.parents[1], site, ignore=shutil.ignore_patterns("_build"))
    source = site / "notebooks" / "refine.ipynb"
    source.write_text(source.read_text().replace("# Stage 3: refine", "# Stage 3: refined"))
    (site / "_toc.yml").write_text("format: jb-book\nroot: book/runs/refine\n")
    command = [Path(sys.executable).with_name("jupyter-book"), "build", site]
    subprocess.run(command, cwd=site, capture_output=True, check=True)
    text = (site / "_build" / "html" / "book" / "runs" / "refine.html").read_text()
    assert "This page is stale: its notebook refine.ipynb has changed" in text


def test_an_unfinished_run_is_not_recorded(tmp_path):
    before = sorted(path.name for path in (ROOT / "book" / "runs").iterdir())
    with pytest.raises(FileNotFoundError, match="no page results"):
        book.record(tmp_path)
    assert sorted(path.name for path in (ROOT / "book" / "runs").iterdir()) == before


def test_results_are_recorded_beside_the_run(tmp_path, monkeypatch):
    ours, theirs = tmp_path / "book" / "runs", tmp_path / "runs" / "results" / "synthetic-gpu"
    ours.mkdir(parents=True)
    (ours / "notes.txt").write_text("stays")
    for name in ("frames.npz", "D3-seed0/run.json", "D3-seed0/history.json", "D3-seed0/predictions.npz"):
        (theirs / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(RECORDED / "synthetic-gpu" / name, theirs / name)
    (theirs / "D3-seed0" / "analysis.npz").write_bytes(b"large")
    monkeypatch.setattr(book, "ROOT", tmp_path)
    book.main(["--beside", "synthetic-gpu"])
    assert not (ours / "results" / "synthetic-gpu" / "D3-seed0" / "analysis.npz").exists()
    assert Results(ours / "results" / "synthetic-gpu").seeds("D3") == [0] and (ours / "notes.txt").exists()
    recorded.check(ours)


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Makes a folder of results, recorded or of this machine, from recorded ones: (place, name, labels too); a checkout around it."""
    monkeypatch.setattr(book, "ROOT", tmp_path)
    monkeypatch.setattr(book, "picture", lambda path: None)
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: book/runs/row-D3\n")
    (tmp_path / "book" / "runs").mkdir(parents=True)

    def make(place, name, labels=False, source="synthetic-minutes"):
        folder, row = tmp_path / place / "results" / name, "baseline-seed0" if labels else "D3-seed0"
        shutil.copytree(RECORDED / source / row, folder / row)
        dataset, _, preset = name.partition("-")
        write_json(folder / row / "run.json", read_json(folder / row / "run.json") | {"dataset": dataset, "preset": preset})
        (folder / row / "analysis.npz").write_bytes(b"large")
        if labels:
            shutil.copy(RECORDED / source / "frames.npz", folder)
        return folder

    return make


def kept(root):
    """Results of the recorded run under ``root``: {name: its rows, "*" after those with their analysis}, and "labels"."""
    return {
        folder.name: {row.name + "*" * (row / "analysis.npz").exists() if row.is_dir() else "labels" for row in folder.iterdir()}
        for folder in (root / "book" / "runs" / "results").iterdir()
    }


def made_pages(root, name, shown):
    """Executed pages of a run, here one, that shows the run of the folder of results ``shown``."""
    identity = read_json(next(shown.glob("*/run.json")))["identity"]
    output = nbformat.v4.new_output("display_data", {"text/html": f"<table><tr><td>identity {identity}</td></tr></table>"})
    page = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("show", outputs=[output])])
    page.metadata["handpose"] = {"notebook": "row.ipynb", "parameters": {"row": "D3"}}
    (root / "runs" / "pages" / name).mkdir(parents=True, exist_ok=True)
    nbformat.write(page, root / "runs" / "pages" / name / "row-D3.ipynb")
    return str(root / "runs" / "pages" / name)


@pytest.mark.parametrize("changes", ["weights=my-hands-seed0to2", "beta=1e-5+epochs=3", "weights=x-recorded"])
@pytest.mark.parametrize("seeds", ["seed0", "seed0to2"])
def test_a_run_with_changed_settings_is_recorded(results, tmp_path, changes, seeds):
    """With its variants, and the labels that it shares with the plain preset; not with what else was run."""
    own = f"synthetic-minutes+{changes}"
    made = results("runs", own)
    results("runs", "synthetic-minutes", labels=True)
    results("runs", f"{own}+kcs_weight=4")
    results("runs", f"{own}0")
    results("runs", "synthetic-minutes+kcs_weight=4")
    results("book/runs", "synthetic-quick", labels=True)
    results("book/runs", f"{own}+geo_weight=1e-4")  # of an older such run
    book.main(["--record", made_pages(tmp_path, f"{own}-{seeds}", made)])
    quick = {"synthetic-quick": {"baseline-seed0*", "labels"}}
    assert kept(tmp_path) == quick | {own: {"D3-seed0*", "labels"}, f"{own}+kcs_weight=4": {"D3-seed0", "labels"}}
    assert Results(tmp_path / "book" / "runs" / "results" / own).seeds("D3") == [0]
    recorded.check(tmp_path / "book" / "runs")
    before = kept(tmp_path)
    book.main(["--record", made_pages(tmp_path, f"{own}-{seeds}-recorded", made)])
    assert kept(tmp_path) == before


def test_pictures_of_a_dataset_are_not_published_unasked(results, tmp_path):
    made = results("runs", "rhd-minutes", labels=True)
    for path in made.glob("*/run.json"):
        write_json(path, read_json(path) | {"rendered": False})
    pages = made_pages(tmp_path, "rhd-minutes-seed0", made)
    for arguments in (["--record", pages], ["--beside", made.name]):
        with pytest.raises(SystemExit, match="hold pictures of the dataset, whose licence is: research only.*make record WITH_PICTURES=yes"):
            book.main(arguments)
    assert not (tmp_path / "book" / "runs" / "results").exists()
    book.main(["--record", "--with-pictures", pages])
    assert set(kept(tmp_path)) == {made.name}


def test_labels_are_shared_where_the_plain_preset_is_recorded_on_the_same_frames(results, tmp_path):
    made = results("runs", "synthetic-minutes+kcs_weight=4")
    results("runs", "synthetic-minutes", labels=True)
    plain = results("book/runs", "synthetic-minutes", labels=True)
    pages = made_pages(tmp_path, "synthetic-minutes+kcs_weight=4-seed0", made)
    book.main(["--record", pages])
    assert kept(tmp_path) == {plain.name: {"baseline-seed0*", "labels"}, made.name: {"D3-seed0*"}}
    shutil.rmtree(plain)
    results("book/runs", "synthetic-minutes", labels=True, source="stb-quick+weights=hands")  # other frames
    book.main(["--record", pages])
    assert kept(tmp_path) == {plain.name: {"baseline-seed0*", "labels"}, made.name: {"D3-seed0*", "labels"}}


def test_a_plain_run_is_recorded_with_its_variants(results, tmp_path):
    """They take the place of all older ones; results that a page of every run shows stay."""
    made, variant = results("runs", "stb-quick", labels=True), results("runs", "stb-quick+kcs_weight=4")
    results("book/runs", "stb-quick", labels=True)
    results("book/runs", "stb-quick+geo_weight=1e-4")
    shown = results("book/runs", "stb-quick+weights=hands", labels=True)
    book.main(["--record", made_pages(tmp_path, "stb-quick-seed0", made)])
    rows = {"baseline-seed0*", "labels"}
    assert kept(tmp_path) == {made.name: rows, variant.name: {"D3-seed0"}, shown.name: rows}


def test_a_run_without_results_is_not_recorded(results, tmp_path):
    shown = results("book/runs", "synthetic-minutes", labels=True)
    results("runs", "synthetic-minutes", labels=True)
    with pytest.raises(SystemExit, match=r"^error: \S+/synthetic-minutes\+beta=1 holds no results: run `make book` with that dataset and preset first$"):
        book.main(["--record", made_pages(tmp_path, "synthetic-minutes+beta=1-seed0", shown)])
    assert not list((tmp_path / "book" / "runs").glob("*.ipynb"))


def test_what_a_stopped_recording_left_is_not_built(tmp_path, monkeypatch):
    root, site = tmp_path / "root", tmp_path / "site"
    for name in ("book", "tests", "notebooks"):
        shutil.copytree(ROOT / name, root / name)
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy2(ROOT / name, root / name)
    (root / "book" / ".runs.new").mkdir()
    monkeypatch.setattr(book, "ROOT", root)
    book.stage(root / "book" / "runs", site)
    assert (site / "book" / "runs" / "row-A.ipynb").exists() and not list((site / "book").glob(".*"))


def test_a_page_that_is_missing_is_said(tmp_path):
    (tmp_path / "pages").mkdir()
    with pytest.raises(FileNotFoundError, match="no page results"):
        book.stage(tmp_path / "pages", tmp_path / "site")
