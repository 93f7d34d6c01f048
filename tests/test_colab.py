"""The notebooks' first cell: silent anywhere, and on Colab the code and what Colab lacks, with Colab's own packages as they are."""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import jupytext
import nbformat
import pytest

from handpose import colab, notebook
from handpose.address import read_address
from handpose.records import this_commit

ROOT = Path(__file__).parents[1]
LISTED = [line.split("==") for line in (Path(__file__).parent / "colab" / "packages.txt").read_text().split("\n") if "==" in line]
SOURCES = sorted((ROOT / "notebooks").glob("*.ipynb"))


def git(folder, *arguments):
    command = ["git", "-C", str(folder), "-c", "user.name=x", "-c", "user.email=x@x", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """(address, commit): the code of this checkout, and after it a commit on ``main`` that asks for what nobody has."""
    folder = tmp_path_factory.mktemp("repository")
    shutil.copytree(ROOT / "handpose", folder / "handpose", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    git(folder, "init", "--quiet", "--initial-branch=main")
    commits = []
    for message in ("the page's", "a later one"):
        git(folder, "add", "--all")
        git(folder, "commit", "--quiet", "--message", message)
        commits.append(git(folder, "rev-parse", "HEAD"))
        text = (folder / "pyproject.toml").read_text()
        (folder / "pyproject.toml").write_text(text.replace('"tqdm>=4.66"', '"tqdm>=999"'))
    return folder.as_uri(), commits[0]


@pytest.fixture(scope="module")
def colab_python(tmp_path_factory):
    """A virtual environment with pip in which every listed package stands at its version: names, versions and no code."""
    folder = tmp_path_factory.mktemp("colab")
    venv.create(folder, with_pip=True, symlinks=True)
    packages = next(folder.glob("lib/python*/site-packages"))
    for name, version in LISTED:
        if name in ("pip", "setuptools"):  # real ones, as the machine brings them
            continue
        place = packages / f"{re.sub('[-.]', '_', name)}-{version}.dist-info"
        place.mkdir()
        more = "Provides-Extra: http\n" if name == "fsspec" else ""  # it has one, and fabric asks for it
        (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{more}")
        (place / "INSTALLER").write_text("pip\n")
        (place / "RECORD").write_text("")
    real = Path(importlib.metadata.distribution("packaging").locate_file("packaging"))
    shutil.copytree(real, packages / "packaging", ignore=shutil.ignore_patterns("__pycache__"))
    return folder / "bin" / "python"


def run(source, python=sys.executable, folder=None, colab=True, **variables):
    environment = {name: value for name, value in os.environ.items() if name not in ("COLAB_NOTEBOOK_ID", "PYTHONPATH")} | variables
    environment |= {"COLAB_NOTEBOOK_ID": "1"} if colab else {}
    return subprocess.run([str(python), "-c", source], cwd=folder, env=environment, capture_output=True, text=True)


def installed(python):
    source = "import importlib.metadata as m, json; print(json.dumps({d.name: [d.version, str(d._path)] for d in m.distributions()}))"
    return json.loads(run(source, python, colab=False).stdout)


def test_on_colab_it_brings_the_code_and_leaves_colab_alone(repository, colab_python, tmp_path):
    address, commit = repository
    before = installed(colab_python)
    assert len(before) > 700 and before["torch"][0] == "2.11.0+cu128"
    stamps = {path: (Path(path) / "METADATA").stat().st_mtime_ns for _, path in before.values()}
    source = colab.cell(address, commit) + "\nimport handpose.experiments, os\nprint(handpose.__file__, os.environ['PYTHONPATH'])"
    first = run(source, colab_python, tmp_path)
    assert first.returncode == 0 and first.stderr == "", first.stderr
    after = installed(colab_python)
    assert {name: after[name] for name in before} == before
    assert {path: (Path(path) / "METADATA").stat().st_mtime_ns for path in stamps} == stamps
    assert set(after) - set(before) == {"lightning-fabric", "lightning-utilities"}
    code = tmp_path / "handpose-book"
    said = first.stdout.splitlines()
    assert said == [
        f"code of this book: commit {commit[:12]}; installed: lightning-fabric {after['lightning-fabric'][0]}",
        "as Colab has them: torch 2.11.0+cu128, torchvision 0.26.0+cu128, numpy 2.0.2, scipy 1.16.3",
        f"{code / 'handpose' / '__init__.py'} {code}",
    ]
    assert git(code, "rev-parse", "HEAD") == commit  # not what main says now
    again = run(source, colab_python, tmp_path)
    assert again.stdout == first.stdout.replace(f"lightning-fabric {after['lightning-fabric'][0]}", "nothing")


def test_a_commit_that_is_gone_gives_the_main_branch_and_a_line(repository, colab_python, tmp_path):
    address, commit = repository
    done = run(colab.cell(address, "0" * 40), colab_python, tmp_path)
    assert f"{'0' * 40} can't be had from {address}" in done.stdout.splitlines()
    assert git(tmp_path / "handpose-book", "rev-parse", "HEAD") != commit
    assert "tqdm>=999 is asked for, this runtime has 4.67.3: choose a newer one" in done.stdout


def test_without_an_address_it_stops_with_one_line(tmp_path):
    done = run(colab.cell(), folder=tmp_path)
    assert done.returncode != 0
    assert done.stderr.splitlines()[-1].startswith("RuntimeError: this copy does not know its repository: write its https address")
    assert list(tmp_path.iterdir()) == []


def test_anywhere_else_it_does_nothing(repository, tmp_path):
    names = "\nassert not [name for name, value in globals().items() if not name.startswith('_') and type(value).__name__ != 'module']"
    for address in ("", repository[0]):
        done = run(colab.cell(address) + names, folder=tmp_path, colab=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


def test_what_is_missing_and_what_is_too_old(tmp_path):
    (tmp_path / "pyproject.toml").write_text('[project]\ndependencies = ["numpy>=1", "torch>=99", "no-such-thing>=2", "No_Such.Other"]\n')
    missing, old = colab.lacking(tmp_path)
    assert missing == ["no-such-thing>=2", "No_Such.Other"]
    assert old == [("torch>=99", importlib.metadata.version("torch"))]


def test_pip_that_fails_is_said_in_one_line(monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "", "ERROR: No matching distribution found for x")
    monkeypatch.setattr(colab.subprocess, "run", lambda *arguments, **options: failed)
    with pytest.raises(RuntimeError, match="^pip could not install x>=1: ERROR: No matching distribution"):
        colab._install(["x>=1"])


def test_pip_gets_everything_that_is_there_as_a_constraint(monkeypatch):
    def look(command, **options):
        constraints.extend(Path(command[command.index("--constraint") + 1]).read_text().splitlines())
        return subprocess.CompletedProcess(command, 0, "", "")

    constraints = []
    monkeypatch.setattr(colab.subprocess, "run", look)
    colab._install(["x"])
    assert f"numpy=={importlib.metadata.version('numpy')}" in constraints and len(constraints) > 50


def test_a_package_of_colabs_that_changed_is_an_error(monkeypatch):
    versions = iter(["2.0", "0.2", "1.0", "3.0", "2.0", "0.2", "1.1", "3.0"])
    monkeypatch.setattr(colab, "_version", lambda name: next(versions))
    monkeypatch.setattr(colab, "lacking", lambda root: ([], []))
    with pytest.raises(RuntimeError, match="numpy changed under pip's hands"):
        colab.set_up()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_every_notebook_begins_with_the_very_same_cell(path):
    """A new notebook gets it by `python -m handpose.colab`."""
    expected = colab.cell(read_address())
    for cells in (nbformat.read(path, 4).cells, jupytext.read(path.with_suffix(".py")).cells):
        first = next(cell for cell in cells if cell.cell_type == "code")
        assert first.source == expected and cells.index(first) == 1
        assert first.metadata["tags"] == ["remove-cell"]  # of no use on the book's page
        assert sum(colab.is_cell(cell.source) for cell in cells) == 1
    assert not first.get("outputs")


@pytest.mark.parametrize("path", sorted((ROOT / "book" / "runs").glob("*.ipynb")), ids=lambda path: path.stem)
def test_every_page_opens_in_colab_at_the_commit_that_it_was_made_with(path):
    cells = [cell for cell in nbformat.read(path, 4).cells if colab.is_cell(cell.source)]
    assert len(cells) == 1 and cells[0].metadata["tags"] == ["remove-cell"]
    [commit] = re.findall(r'"([0-9a-f]{40})"', cells[0].source)
    assert cells[0].source == colab.cell(read_address(), commit)


def test_the_notebooks_are_as_the_command_would_write_them():
    assert colab.write_cells(read_address()) == {}


def test_a_new_notebook_gets_the_cell_and_pages_keep_their_commit(tmp_path):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "book" / "runs").mkdir(parents=True)
    header = (ROOT / "notebooks" / "row.py").read_text().partition("# %%")[0]
    text = header + "# %% [markdown]\n# # New\n\n# %%\nx = 1\n"
    new = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# New"), nbformat.v4.new_code_cell("x = 1")])
    (tmp_path / "notebooks" / "new.py").write_text(text)
    nbformat.write(new, tmp_path / "notebooks" / "new.ipynb")
    new.cells.insert(1, nbformat.v4.new_code_cell(colab.cell("", "a" * 40)))
    nbformat.write(new, tmp_path / "book" / "runs" / "page.ipynb")
    address = "https://github.com/owner/name"
    for path, content in colab.write_cells(address, tmp_path).items():
        path.write_text(content)
    assert jupytext.read(tmp_path / "notebooks" / "new.py").cells[1].source == colab.cell(address)
    assert nbformat.read(tmp_path / "notebooks" / "new.ipynb", 4).cells[1].source == colab.cell(address)
    assert nbformat.read(tmp_path / "book" / "runs" / "page.ipynb", 4).cells[1].source == colab.cell(address, "a" * 40)
    assert colab.write_cells(address, tmp_path) == {}
    for path, content in colab.write_cells("", tmp_path).items():
        path.write_text(content)
    assert (tmp_path / "notebooks" / "new.py").read_text().replace('# %% tags=["remove-cell"]\n' + colab.cell() + "\n\n", "") == text


def test_an_executed_page_fetches_the_commit_that_made_it(tmp_path):
    cells = [nbformat.v4.new_code_cell(colab.cell("https://github.com/owner/name")), nbformat.v4.new_code_cell("x = 1")]
    source = nbformat.v4.new_notebook(cells=cells)
    source.metadata["kernelspec"] = {"name": "python3", "language": "python", "display_name": "Python 3"}
    nbformat.write(source, tmp_path / "in.ipynb")
    notebook.execute(tmp_path / "in.ipynb", tmp_path / "out.ipynb", {})
    page = nbformat.read(tmp_path / "out.ipynb", 4).cells[0]
    assert page.source == colab.cell("https://github.com/owner/name", this_commit()) and page.outputs == []
    notebook.execute(tmp_path / "in.ipynb", tmp_path / "in.ipynb", {})  # a source notebook's outputs are stored in itself
    assert nbformat.read(tmp_path / "in.ipynb", 4).cells[0].source == colab.cell("https://github.com/owner/name")


def test_another_address_makes_no_page_stale(tmp_path):
    digests = []
    for address in ("", "https://github.com/owner/name"):
        nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(colab.cell(address))]), tmp_path / "one.ipynb")
        digests.append(notebook.made_of(tmp_path / "one.ipynb"))
    assert digests[0] == digests[1]
