"""The environments that others make for this book, built for real: Binder's from its pins, Colab's from its list of versions.

`make environments` runs these: a quarter of an hour, a Python 3.11 and a 3.12, and about 15 GB while it lasts.
"""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest
from packaging.requirements import Requirement

from handpose.experiments import PRESETS

ROOT = Path(__file__).parents[1]
LISTED = dict(line.split("==") for line in (ROOT / "tests" / "colab" / "packages.txt").read_text().splitlines() if "==" in line)
OURS = [Requirement(one) for one in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]]
pytestmark = pytest.mark.slow


def python(version):
    """A Python of this version, 3.11 say: the one that runs, or the one on the PATH."""
    for candidate in (sys.executable, shutil.which(f"python{version}")):
        answer = candidate and subprocess.run([candidate, "--version"], capture_output=True, text=True, check=False)
        if answer and answer.stdout.startswith(f"Python {version}."):
            return candidate
    pytest.skip(f"no python{version} on the PATH")


def call(*command, folder=ROOT, search=None, **variables):
    """What the command says, with the programs of the environment ``search`` before all others."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")} | variables
    environment |= {"CUDA_VISIBLE_DEVICES": "", "PATH": f"{search}{os.pathsep}{os.environ['PATH']}" if search else os.environ["PATH"]}
    done = subprocess.run([str(word) for word in command], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def versions(search):
    lines = call("python", "-m", "pip", "list", "--format=freeze", search=search).splitlines()
    return {name.lower(): version for name, _, version in (line.partition("==") for line in lines)}


def test_an_environment_built_from_binders_pins_opens_the_notebooks_at_quick(tmp_path):
    """As repo2docker does it: the environment, the checkout in it, `postBuild`. PyTorch is PyPI's here, where no conda is."""
    checkout, search = tmp_path / "checkout", tmp_path / "environment" / "bin"
    call("git", "clone", "--quiet", ROOT, checkout)
    call(python("3.11"), "-m", "venv", search.parent)
    install = ("python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    call(*install, *[str(one) for one in OURS if one.name in ("torch", "torchvision")], search=search)
    before = versions(search)
    call(*install, "-r", "requirements-conda.txt", "-e", ".", folder=checkout, search=search)
    after = versions(search)
    assert {name for name in before if name.startswith("nvidia")} == {name for name in after if name.startswith("nvidia")}
    assert (before["torch"], before["torchvision"]) == (after["torch"], after["torchvision"])
    assert "No broken requirements" in call("python", "-m", "pip", "check", search=search)

    call("./postBuild", folder=checkout, search=search)
    kernels = checkout / "handpose" / "data" / "synthetic" / "__pycache__"
    compiled = set(kernels.glob("*.nbc"))
    draw = f"from handpose.data import write_synthetic; write_synthetic({str(tmp_path / 'hands')!r}, training=4, size=192)"
    call("python", "-c", draw, folder=checkout, search=search)
    assert compiled and set(kernels.glob("*.nbc")) == compiled  # the first reader waits for no compiler
    for name in ("data", "change_row"):
        page = tmp_path / f"{name}.ipynb"  # all cells, as they open there
        call("python", "-m", "handpose.notebook", f"notebooks/{name}.ipynb", page, folder=checkout, search=search)
        outputs = [output for cell in nbformat.read(page, 4).cells for output in cell.get("outputs", [])]
        assert [output for output in outputs if "image/png" in output.get("data", {}) or "image/jpeg" in output.get("data", {})], name
    quick = PRESETS["quick"]
    assert list((checkout / "runs" / "data").glob(f"synthetic-v*-{quick.training}-{quick.evaluation}-{quick.frame_size}px"))


def test_all_notebooks_run_with_colabs_versions_of_what_they_import(tmp_path):
    """The weekly run, `.ci/colab`, without Colab's image: Colab's versions of our packages and their own, on the same Python."""
    search, constraints = tmp_path / "environment" / "bin", tmp_path / "constraints.txt"
    pins = {name: version.partition("+")[0] for name, version in LISTED.items()}  # builds for one CUDA are not on PyPI
    left = ("pip", "setuptools", "nvidia", "cuda", "triton")  # come as PyPI's build of PyTorch wants them
    constraints.write_text("".join(f"{name}=={version}\n" for name, version in pins.items() if not name.startswith(left)))
    call(python("3.12"), "-m", "venv", search.parent)
    names = [one.name for one in OURS if one.name in pins] + ["packaging", "ipykernel", "ipython", "nbformat", "nbclient"]
    install = ("python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--constraint", constraints)
    call(*install, *names, search=search)
    address, commit = "https://github.com/someone/something", call("git", "rev-parse", "HEAD").strip()
    served = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": f"url.{ROOT.as_uri()}.insteadOf", "GIT_CONFIG_VALUE_0": address}
    said = call("bash", ROOT / ".ci" / "colab", search=search, ADDRESS=address, VERSION=commit, OMP_NUM_THREADS="1", **served)
    assert f"code of this book: commit {commit[:12]}; installed: lightning-fabric" in said
    assert f"numpy {LISTED['numpy']}, scipy {LISTED['scipy']}" in said
    assert said.splitlines()[-1].startswith("all notebooks ran: data ")
