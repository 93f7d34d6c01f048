"""conda and Binder: `environment.yml` follows repo2docker's rules, and its pins are those of everything else."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import nbformat
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from handpose import binder

ROOT = Path(__file__).parents[1]
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text())
CONDA = [one for one in ENVIRONMENT["dependencies"] if isinstance(one, str)]
PIP = next(one["pip"] for one in ENVIRONMENT["dependencies"] if isinstance(one, dict))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
#: conda's name of what pip calls otherwise.
CONDA_NAMES = {"pytorch": "torch"}


def requirements(name):
    return [Requirement(line) for line in (ROOT / name).read_text().splitlines() if line and not line.startswith("#")]


def here(requirement):
    return requirement.marker is None or requirement.marker.evaluate({"extra": ""})


def test_repo2docker_finds_the_file_and_the_python_in_it():
    """It reads binder/ or .binder/ alone where one is there, and takes the Python from the line `python=X.Y`."""
    assert not (ROOT / "binder").exists() and not (ROOT / ".binder").exists() and not (ROOT / "Dockerfile").exists()
    versions = [re.fullmatch(r"python\s*=+\s*([\d.]*)", one) for one in CONDA]
    [version] = [found[1] for found in versions if found]
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(version)
    assert ENVIRONMENT["channels"] == ["conda-forge"] and "pip" in CONDA


def test_what_pip_installs_from_the_checkout_is_there():
    """A line that points into the checkout makes repo2docker copy all of it before it installs."""
    assert PIP == ["-r requirements-conda.txt", "-e ."]
    assert (ROOT / "requirements-conda.txt").exists() and (ROOT / "pyproject.toml").exists()


def test_conda_brings_only_what_pypi_has_with_gpu_libraries_alone():
    """In the ranges of pyproject.toml: which builds conda-forge has on a day is not ours to pin."""
    ranges = {Requirement(one).name: Requirement(one).specifier for one in PROJECT["dependencies"]}
    brought = {CONDA_NAMES.get(Requirement(one).name, Requirement(one).name): Requirement(one).specifier
               for one in CONDA if not one.startswith(("python=", "pip"))}  # fmt: skip
    assert brought == {"torch": ranges["torch"], "torchvision": ranges["torchvision"]}


def test_the_pins_are_those_of_requirements_txt_without_pytorch_and_what_only_it_needs():
    whole, kept = (requirements(name) for name in ("requirements.txt", "requirements-conda.txt"))
    left_out = [one for one in whole if str(one) not in {str(one) for one in kept}]
    assert [str(one) for one in kept] == [str(one) for one in whole if one not in left_out]
    assert {"torch", "torchvision"} < {one.name for one in left_out}
    for one in left_out:
        assert one.name in ("torch", "torchvision", "triton") or one.name.startswith(("nvidia-", "cuda-"))
    names = {canonicalize_name(one.name) for one in kept} | {"torch", "torchvision"}
    for one in kept:  # nothing that stays needs what was left out
        if here(one):
            needs = [Requirement(text) for text in metadata.requires(one.name) or []]
            assert {canonicalize_name(need.name) for need in needs if here(need)} <= names | {"pip"}, one.name


def test_the_pins_are_what_this_environment_runs():
    for one in requirements("requirements-conda.txt"):
        if here(one):
            runs = metadata.version(one.name)
            assert one.specifier.contains(runs, prereleases=True), f"{one} is pinned, {runs} runs"


def test_pip_finds_the_pins_to_fit_each_other():
    """The whole file resolved at once, without the network: every pin is met, and none asks for what is not there."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-index", "--disable-pip-version-check"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    done = subprocess.run([*command, "-r", "requirements-conda.txt"], cwd=ROOT, env=clean, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Would install" not in done.stdout and "already satisfied" in done.stdout


def test_make_lock_makes_the_file():
    done = subprocess.run(["make", "-n", "lock"], cwd=ROOT, capture_output=True, text=True)
    [line] = [line for line in done.stdout.splitlines() if line.endswith("> requirements-conda.txt")]
    made = subprocess.run(line.removesuffix("> requirements-conda.txt"), shell=True, cwd=ROOT, capture_output=True, text=True)
    assert made.stdout == (ROOT / "requirements-conda.txt").read_text()


@pytest.fixture
def image(tmp_path):
    """The part of the checkout that `postBuild` touches."""
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks", ignore=shutil.ignore_patterns(".*"))
    for name in ("postBuild", "jupytext.toml"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def test_binder_opens_the_notebooks_at_quick(image):
    """`postBuild` as Binder runs it: in the checkout, as a program."""
    search = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(["./postBuild"], cwd=image, env=os.environ | {"PATH": search}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for path in sorted((image / "notebooks").glob("*.ipynb")):
        notebook = nbformat.read(path, 4)
        [cell] = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
        source = path.with_suffix(".py").read_text()
        if path.stem == "change_row":  # two minutes are right for it
            assert 'preset: str = "minutes"' in cell.source and cell.source in source
            continue
        assert 'preset: str = "quick"' in cell.source and "smoke" not in cell.source
        assert 'preset: str = "quick"' in source and 'preset: str = "smoke"' not in source  # jupytext opens the newer of the two
        assert not [output for cell in notebook.cells for output in cell.get("outputs", [])]


def test_a_wrong_preset_changes_no_notebook(image):
    before = {path: path.read_bytes() for path in (image / "notebooks").glob("*.ipynb")}
    with pytest.raises(ValueError, match="no preset 'quik'"):
        binder.open_at("quik", image / "notebooks" / "row.ipynb")
    assert {path: path.read_bytes() for path in before} == before
    assert binder.open_at("quick", image / "notebooks" / "change_row.ipynb") is False
    with pytest.raises(SystemExit, match="^error: .* holds no notebooks"):
        binder.main(["quick", str(image / "none")])
