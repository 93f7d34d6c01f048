"""Every command of README.md and of the chapter "Run it yourself", taken from the text, is run.

Here in minutes: what is cheap for real, at the size `smoke`; what is not, as far as a plan of it goes. `make commands` runs
all of it for real. ``HOW`` says which way each is run; a command that it does not know fails.
"""

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import pytest
import torch
import torchvision
from PIL import Image

from handpose.data import write_synthetic

ROOT = Path(__file__).parents[1]
TEXTS = ("README.md", "book/reproduce.md")
_PROGRAM = re.compile(r"(make|python|torchrun|papermill|snakemake|jupyter-book|pip|conda|git|\.) \S")

#: The first pattern that fits says how a command is run.
#: plan: make prints it, Snakemake plans it, nothing is trained. recipe: make prints it, and what it calls is there.
#: prepare: papermill puts the parameters in. run: for real. pip: it resolves. A path: the test that runs it.
HOW = (
    (r"make (book|pages|batch) .*|make (book|pages)", "plan"),
    (r"make (batch|test|bench|decisions|record|manifest|site|archive|commands|soak|fuzz|lock|address)\b.*", "recipe"),
    (r"make PYTHON=python3\.12 \.\.\.", "recipe"),
    (r"snakemake --snakefile notebooks/Snakefile .*", "plan"),
    (r"papermill notebooks/\S+ out\.ipynb .*-p dataset rhd .*", "prepare"),
    (r"papermill notebooks/\S+ out\.ipynb .*", "run"),
    (r"python -m handpose\.colab", "run"),
    (r"python -m handpose\.book --beside synthetic-gpu", "tests/test_book.py"),  # of a run on a GPU
    (r"torchrun .* -m handpose train .*", "run"),
    (r"python -m handpose( predict| train|\.(notebook|data|batch|pretrained|archive|trial)) .*", "run"),
    (r'python -c ".*"', "run"),
    (r"\. \.venv/bin/activate", "run"),
    (r"pip install \S+", "pip"),
    (r"jupyter-book build \.", "tests/conftest.py"),
    (r"conda env create --file environment\.yml", "tests/test_environment.py"),
)
#: What makes a command small: the scale alone, and places that every reader has elsewhere.
SMALL = (
    (r'preset="(quick|desktop|paper)"', 'preset="smoke"'),
    (r"-p preset (quick|desktop|paper)", "-p preset smoke"),
    (r"PRESET=(quick|minutes|desktop|gpu|paper)", "PRESET=smoke"),
    (r"(handpose train .*--preset) (quick|desktop|paper)", r"\1 smoke"),
    (r"(torchrun .*) D3 (.*)", r"\1 baseline \2 --seed 1"),  # another than `trained` has: what is there is only opened
    (r"(-m handpose\.notebook notebooks/change_row\.ipynb .*)", r"\1 -p preset smoke -p threads 1"),
    (r"training=5000, evaluation=1000", "training=12, evaluation=20"),
    (r"synthetic-desktop/warmup-seed0|synthetic-quick/D3-seed0", "synthetic-smoke/D3-seed0"),
    (r"/path/to/RHD_published_v2|\bPATH\b", "~/data/RHD_published_v2"),
    (r"\bx0 y0 x1 y1\b", "120 80 460 430"),
    (r"PYTHON=python3\.12 \.\.\.", "PYTHON=python3 book"),
    (r"URL=\.\.\.", "URL=https://github.com/OWNER/NAME"),
)


@dataclass(frozen=True)
class Command:
    """A command and the text that it stands in; ``inline``: within a sentence."""

    text: str
    source: str
    inline: bool = False

    def __str__(self):
        return f"{self.source}: {self.text}"


def commands_of(text, source=""):
    """All commands of a Markdown text: lines of its shell fences, and spans of code that begin with a program's name."""
    fences = re.findall(r"(?ms)^```(\S*)[^\n]*\n(.*?)^```", text)
    lines = [line.split(" #")[0].strip() for kind, body in fences if kind in ("", "bash") for line in body.splitlines()]
    prose = re.sub(r"(?ms)^```.*?^```", "", text)
    spans = [re.sub(r"\s+", " ", span) for span in re.findall(r"(?s)(?<!`)`([^`]+)`(?!`)", prose)]
    found = [Command(line, source) for line in lines if line]
    return found + [Command(span, source, True) for span in spans if _PROGRAM.match(span)]


def python_of(text):
    """The Python fences of a Markdown text."""
    return re.findall(r"(?ms)^```python\n(.*?)^```", text)


FOUND = [one for name in TEXTS for one in commands_of((ROOT / name).read_text(), name)]
COMMANDS = [one for place, one in enumerate(FOUND) if one.text not in {before.text for before in FOUND[:place]}]
SNIPPETS = [snippet for name in TEXTS for snippet in python_of((ROOT / name).read_text())]


def way(command):
    """How ``command`` is run. Raises ValueError for one that ``HOW`` does not know."""
    for pattern, how in HOW:
        if re.fullmatch(pattern, command):
            return how
    raise ValueError(f"{command!r} stands in {' or '.join(TEXTS)}, and no test knows how to run it: see HOW")


def chosen(*ways):
    """The commands that are run in one of ``ways``, as parameters of a test; what no test knows is `test_every_command_is_known`'s."""
    known = [one for one in COMMANDS if any(re.fullmatch(pattern, one.text) for pattern, _ in HOW) and way(one.text) in ways]
    alike = {small(one.text) if "run" in ways else one.text: one for one in reversed(known)}  # of those that are, the first
    return [pytest.param(one.text, id=str(one)) for one in known if one in alike.values()]


def small(command):
    for pattern, replacement in SMALL:
        command = re.sub(pattern, replacement, command)
    return command


def test_commands_are_found_in_a_text():
    shell_fence, python_fence = "```bash\nmake test    # the tests\n\npapermill a b\n```\n", "```python\nprint(1)\n```\n"
    text = f"Do `make book`, see `x = 1`.\n\n{shell_fence}\n{python_fence}```text\nno\n```\nor `pip\ninstall uv`"
    assert [one.text for one in commands_of(text)] == ["make test", "papermill a b", "make book", "pip install uv"]
    assert python_of(text) == ["print(1)\n"]


def test_every_command_is_known():
    assert len(COMMANDS) > 25 and len(SNIPPETS) == 4
    assert {way(one.text) for one in COMMANDS} == {how for _, how in HOW}  # and no way stands there for nothing
    with pytest.raises(ValueError, match="'make coffee' stands in README.md or book/reproduce.md, and no test knows"):
        way("make coffee")


def test_the_readme_says_what_every_module_is_for():
    named = re.findall(r"[\w*]+\.py", (ROOT / "README.md").read_text())
    modules = [path.name for path in (ROOT / "handpose").glob("*.py") if not path.name.startswith("__")]
    assert [name for name in modules if not any(fnmatch(name, pattern) for pattern in named)] == []


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the checkout with its environment, and in its home what a reader has: frames, a picture, weights."""
    folder = tmp_path_factory.mktemp("checkout") / "handpose-book"
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True)
    for name in filter(None, names.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    for cache in (ROOT / "handpose").rglob("__pycache__"):  # compiled once is enough
        shutil.copytree(cache, folder / cache.relative_to(ROOT), dirs_exist_ok=True)
    (folder / ".venv").symlink_to(Path(sys.prefix), target_is_directory=True)
    for name in ("requirements.txt", "pyproject.toml"):  # older than what is installed: make installs nothing
        os.utime(folder / name, (0, 0))
    data = folder.parent / "home" / "data"
    # The book's pages probe latents: with fewer than 16 frames to measure on they say so, and stop.
    write_synthetic(data / "RHD_published_v2", training=12, evaluation=20, size=96, workers=1)
    write_synthetic(data / "STB", "stb", training=12, evaluation=20, workers=1)
    (folder / "hands").mkdir()
    Image.effect_noise((512, 512), 60).convert("RGB").save(folder / "hand.jpg")
    torch.save(torchvision.models.resnet18().state_dict(), folder / "resnet18-f37072fd.pth")
    identity = ["-c", "user.name=x", "-c", "user.email=x@x"]
    for command in (["init", "--quiet"], ["add", "--all"], [*identity, "commit", "--quiet", "--message=all"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


def shell(line, checkout, **variables):
    environment = os.environ | {
        "HOME": str(checkout.parent / "home"), "PYTHONPATH": str(checkout), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1",
        "PATH": f"{Path(sys.prefix) / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "MPLCONFIGDIR": os.environ.get("MPLCONFIGDIR", str(Path.home() / ".config" / "matplotlib")),
    }  # fmt: skip
    environment = {name: value for name, value in environment.items() if name not in ("MAKEFLAGS", "MAKELEVEL")} | variables
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", line], cwd=checkout, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def trained(checkout):
    """After the chapter's first run: one row, as the text has it, but small."""
    [first] = [one.text for one in COMMANDS if one.text.startswith("papermill notebooks/row") and "rhd" not in one.text]
    shell(small(first), checkout)
    return checkout


def recipe(command, checkout):
    """The lines that make would run."""
    lines = shell(command.replace("make", "make --dry-run", 1), checkout).replace("\\\n", " ").splitlines()
    return [line for line in lines if not line.startswith("make")]


@pytest.mark.parametrize("command", chosen("plan"))
def test_what_trains_for_long_is_planned(command, checkout):
    """The very command, at its own size; make says what it would call, and that plans its jobs."""
    command = re.sub("DATA_ROOT=/path/to", "DATA_ROOT=~/data", command)
    lines = recipe(command, checkout) if command.startswith("make") else [command]
    planned = [line for line in lines if "snakemake" in line or "handpose.batch" in line]
    assert len(planned) == 1
    line = re.sub(r"(snakemake(?= --)|handpose\.batch)", r"\1 --dry-run", planned[0], count=1)
    assert "This was a dry-run" in shell(line, checkout)


@pytest.mark.parametrize("command", chosen("recipe"))
def test_what_make_calls_is_there(command, checkout):
    lines = recipe(small(command), checkout)
    assert lines
    for line in lines:
        modules = re.findall(r"\.venv/bin/python -m ([\w.]+)", line)
        assert all(importlib.util.find_spec(module) for module in modules), line
        for word in shlex.split(line.split(">")[0].split(";")[0], comments=True):
            if word.startswith((".venv/bin/", "tests/")):
                assert (checkout / word).exists(), line


@pytest.mark.parametrize("command", chosen("prepare"))
def test_what_needs_a_dataset_takes_its_parameters(command, checkout):
    """papermill only warns of a parameter that a notebook does not have."""
    assert "unknown parameter" not in shell(f"{command} --prepare-only", checkout)
    names = re.findall(r"-p (\w+)", command)
    source = (checkout / shlex.split(command)[1]).with_suffix(".py").read_text()
    assert names and all(re.search(rf"(?m)^{name}: ", source) for name in names)


@pytest.mark.parametrize("command", chosen("run"))
def test_what_is_cheap_is_run(command, trained):
    said = shell(small(command), trained)
    made = {"papermill": ["out.ipynb", "runs/results/synthetic-smoke/D3-seed0/run.json"], "predict": ["hand-pose.json", "hand-pose.csv"],
            "change_row": ["out.ipynb"], "--name hands": ["runs/weights/hands.safetensors"], "--metadata": [".zenodo.json"],
            "write_synthetic": ["hands/labels"], "torchrun": ["runs/results/synthetic-smoke/baseline-seed1/run.json"]}  # fmt: skip
    for word, paths in made.items():
        for path in paths if word in command else ():
            assert (trained / path).exists(), f"{command} did not make {path}: {said}"


@pytest.mark.parametrize("snippet", SNIPPETS, ids=[snippet.splitlines()[0] for snippet in SNIPPETS])
def test_python_in_the_chapter_runs(snippet, trained):
    (trained / "snippet.py").write_text(small(snippet))
    assert re.search(r"mepe|MEPE", shell("python snippet.py", trained))


@pytest.mark.parametrize("command", chosen("pip"))
def test_what_pip_installs_is_there_to_install(command, checkout):
    try:
        shell(command.replace("install", "install --dry-run --no-deps", 1), checkout, HOME=str(Path.home()))
    except AssertionError as error:
        if "No matching distribution" in str(error) or "Connection" in str(error):
            pytest.skip("no package index here")
        raise


@pytest.mark.parametrize("command", chosen("tests/conftest.py", "tests/test_environment.py", "tests/test_book.py"))
def test_what_another_test_runs_stands_there(command):
    words = {"jupyter-book build .": '"jupyter-book"), "build", "."', "conda env create --file environment.yml": '"environment.yml"',
             "python -m handpose.book --beside synthetic-gpu": '"--beside", "synthetic-gpu"'}  # fmt: skip
    assert words[command] in (ROOT / way(command)).read_text()


#: For real, in the order of the texts. `make commands` itself would never end, `make lock` gives another day's pins; SLURM,
#: conda and another Python may not be here.
REAL = [one.text for one in COMMANDS if not re.search(r"make (commands|lock)|profiles/slurm|python3\.12|^conda ", one.text)]


@pytest.mark.slow
@pytest.mark.parametrize("command", REAL)
def test_every_command_for_real(command, trained):
    shell(small(command), trained, PRESET="smoke")
