"""A release's archives, and its description for Zenodo."""

import hashlib
import json
import shutil
import subprocess
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
import yaml

import handpose
from handpose import archive

ROOT = Path(__file__).parents[1]


@pytest.fixture
def checkout(tmp_path):
    """What a release is made of, small."""
    for name in ("requirements.txt", "requirements-conda.txt", "environment.yml", "pyproject.toml", "CITATION.cff"):
        shutil.copy(ROOT / name, tmp_path)
    files = {"_build/html/index.html": "<p>", "_build/html/_static/a.css": "p {}", "book/runs/row-A.ipynb": "{}",
             "book/runs/results/synthetic-desktop/A-seed0/run.json": "{}"}  # fmt: skip
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_a_release_holds_the_book_the_recorded_run_and_the_environment(checkout):
    written = archive.archive(checkout / "release", checkout)
    version = handpose.__version__
    names = [f"handpose-{name}-{version}.zip" for name in ("book", "recorded-run", "environment")]
    assert [path.name for path in written] == [*names, "zenodo.json", "SHA256SUMS"]
    held = [set(zipfile.ZipFile(path).namelist()) for path in written[:3]]
    assert held[0] == {"index.html", "_static/a.css"}
    assert held[1] == {"row-A.ipynb", "results/synthetic-desktop/A-seed0/run.json"}
    assert held[2] == {"requirements.txt", "requirements-conda.txt", "environment.yml", "pyproject.toml", "packages.txt"}
    packages = zipfile.ZipFile(written[2]).read("packages.txt").decode()
    assert f"torch=={metadata.version('torch')}\n" in packages and packages.startswith("# Python 3.")
    sums = dict(line.split("  ")[::-1] for line in written[-1].read_text().splitlines())
    assert sums == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in written[:-1]}
    assert json.loads(written[3].read_text()) == json.loads((ROOT / ".zenodo.json").read_text())


def test_the_same_content_gives_the_same_bytes(checkout):
    first = [path.read_bytes() for path in archive.archive(checkout / "one", checkout)]
    (checkout / "_build" / "html" / "index.html").touch()
    assert [path.read_bytes() for path in archive.archive(checkout / "two", checkout)] == first


def test_a_book_that_is_not_built_is_said(checkout):
    (checkout / "_build" / "html" / "index.html").unlink()
    with pytest.raises(FileNotFoundError, match="no book in _build/html: run `make site` first"):
        archive.archive(checkout / "release", checkout)
    assert not (checkout / "release").exists()


@pytest.mark.parametrize(("marker", "line"), [
    (".unfinished", "the book in _build/html was not built to its end: run `make site` first"),
    (".run-synthetic-quick-seed0", "the book in _build/html is that of the run synthetic-quick-seed0, not the recorded one: run `make site` first"),
])  # fmt: skip
def test_a_book_that_is_not_the_whole_recorded_one_is_refused(checkout, monkeypatch, marker, line):
    """`make archive` builds it itself; alone the command takes what is there."""
    (checkout / "_build" / "html" / marker).touch()
    monkeypatch.setattr(archive, "ROOT", checkout)
    monkeypatch.setattr(archive.archive, "__defaults__", (checkout,))
    with pytest.raises(SystemExit) as stopped:
        archive.main([])
    assert stopped.value.code == f"error: {line}"
    assert not (checkout / "_build" / "release").exists()


def test_the_tag_is_the_version():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert version == handpose.__version__
    archive.check_tag(f"v{version}")
    for wrong in (version, "v9.9.9", ""):
        with pytest.raises(ValueError, match=f"is not v{version}: set version in"):
            archive.check_tag(wrong)
    done = subprocess.run(["make", "-n", "archive", "TAG=v9.9.9"], cwd=ROOT, capture_output=True, text=True)
    assert '-m handpose.archive --tag "v9.9.9"' in done.stdout


def test_zenodo_reads_what_the_citation_says():
    """CITATION.cff is the one source: `python -m handpose.archive --metadata` writes the other."""
    assert (ROOT / ".zenodo.json").read_text() == archive.zenodo_text()
    citation, kept = yaml.safe_load((ROOT / "CITATION.cff").read_text()), json.loads((ROOT / ".zenodo.json").read_text())
    assert kept["title"] == citation["title"] and kept["license"] == citation["license"] and kept["upload_type"] == citation["type"]
    assert [one["name"] for one in kept["creators"]] == [author["name"] for author in citation["authors"]]
    assert citation["references"][0]["title"] in kept["references"][0] and "Stergioulas, Andreas" in kept["references"][0]


def test_a_change_of_the_citation_changes_the_description_but_its_address_does_not():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    kept = archive.zenodo(citation)
    assert archive.zenodo(citation | {"repository-code": "https://example.org/a/b"}) == kept
    authors = [{"family-names": "Doe", "given-names": "Jo"}]
    assert archive.zenodo(citation | {"authors": authors})["creators"] == [{"name": "Doe, Jo"}] != kept["creators"]


def test_the_book_can_be_cited_with_its_address_where_one_is_known():
    citation = {"title": "A Book", "authors": [{"name": "The authors"}, {"family-names": "Doe", "given-names": "Jo"}]}
    text = archive.bibtex(citation)
    assert "author = {{The authors} and Doe, Jo}" in text and "title  = {{A Book}}" in text and "url" not in text
    assert "url    = {https://example.org/a/b}" in archive.bibtex(citation | {"repository-code": "https://example.org/a/b"})
