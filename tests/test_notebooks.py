"""The notebooks as files; that their outputs hold is nbval's to say (`make test`)."""

import ast
import base64
import inspect
import io
import json
import os
import re
import shlex
import subprocess
import sys
from ast import literal_eval
from dataclasses import fields
from pathlib import Path

import jupytext
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import papermill
import pytest
from PIL import Image

from handpose.batch import command
from handpose.claims import CLAIMS
from handpose.experiments import CONTROLS, PARTS, PEERS, ROWS, Preset, find_preset, find_row, stage_owner
from handpose.given import unpack
from handpose.notebook import check_parameters, clean, execute, lighter_png, made_of, project_path, stale_page
from handpose.predictor import Predictor
from handpose.recorded import BESIDE
from handpose.records import available_cores
from handpose.results import Results, obtain
from handpose.runs import run_stages
from handpose.trial import EXAMPLE, PRESET
from tests.test_resume import checkout

ROOT = Path(__file__).parents[1]
ALL = ["align", "change_row", "claims", "data", "datasets", "decisions", "disentangle", "inside", "peers", "predict", "refine", "results", "row", "warmup"]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def test_there_are_notebooks():
    assert {path.stem for path in NOTEBOOKS} == set(ALL)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_text_and_notebook_say_the_same(path):
    text = jupytext.read(path.with_suffix(".py"))
    notebook = nbformat.read(path, 4)
    assert [(cell.cell_type, cell.source) for cell in text.cells] == [(cell.cell_type, cell.source) for cell in notebook.cells]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_figure_has_a_caption_of_its_own(path):
    """Beside the alternative text: of a picture in its cell's metadata, of a plotly figure as ``show``'s last argument."""
    for cell in nbformat.read(path, 4).cells:
        alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt")
        assert (alt is None) == ("caption" not in cell.metadata)
        assert alt is None or cell.metadata["caption"].strip() not in ("", alt)
        code = ast.walk(ast.parse(cell.source)) if cell.cell_type == "code" else ()
        shown = [node for node in code if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "show"]
        assert all(len(node.args) == 4 for node in shown)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_notebooks_were_executed(path):
    """nbval compares nothing in a cell without an execution count."""
    code = [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)
    assert any("MEPE" in str(output) for cell in code for output in cell.outputs)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_parameters_are_those_of_the_package(path):
    parameters = papermill.inspect_notebook(str(path))
    known = set(inspect.signature(run_stages).parameters) | {"seeds", "recorded", "links"}
    if path.stem == "change_row":  # a row's parts and a preset's weights, by their own names and values
        own = {name: getattr(find_row(EXAMPLE), name) for name in PARTS if not name.startswith("long")}
        weights = {field.name: getattr(find_preset(PRESET), field.name) for field in fields(Preset) if "weight" in field.name or field.name == "beta"}
        del weights["weights"]
        assert {name: literal_eval(parameters[name]["default"]) for name in own | weights} == own | weights
        assert literal_eval(parameters["preset"]["default"]) == PRESET
        known |= set(own | weights)
    if path.stem == "predict":  # what the predictor takes, and a file for its image
        known |= set(inspect.signature(Predictor.__call__).parameters) - {"self", "image"} | {"picture"}
    assert set(parameters) <= known
    assert {"preset", "dataset", "data_root", "output_dir"} <= set(parameters)
    assert all(parameter["help"] for name, parameter in parameters.items() if name != "seed")


def test_a_mistyped_parameter_stops_before_anything_runs(tmp_path):
    command = [sys.executable, "-m", "handpose.notebook", "notebooks/row.ipynb", tmp_path / "out.ipynb", "-p", "sede", "3"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode != 0
    assert "unknown parameter 'sede' (did you mean 'seed'?); this notebook takes preset, dataset" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_mistyped_parameter_stops_papermill_itself(tmp_path):
    """papermill on its own only warns: the notebook's own check has to stop it."""
    source = ROOT / "notebooks" / "data.ipynb"
    with pytest.raises(papermill.PapermillExecutionError, match="unknown parameter 'presett'"):
        papermill.execute_notebook(str(source), str(tmp_path / "out.ipynb"), {"presett": "quick"}, progress_bar=False,
                                   kernel_name="python3", cwd=str(source.parent))  # fmt: skip


def test_check_parameters_ignores_what_is_not_a_parameter():
    namespace = {"seed": 0}
    check_parameters(namespace, "seed")
    check_parameters(namespace | {"frames": 3}, "seed")  # run again, with the notebook's own names there
    check_parameters({"seed": 0, "In": [], "_": 1, "print": print, "sys": sys}, "seed")
    with pytest.raises(ValueError, match="unknown parameter 'rwo'"):
        check_parameters({"seed": 0, "rwo": "D3"}, "seed", "row")


def test_runs_of_the_tests_lie_apart(monkeypatch, tmp_path):
    monkeypatch.delenv("HANDPOSE_RUNS", raising=False)
    assert project_path("runs") == ROOT / "runs" and project_path("") is None
    monkeypatch.setenv("HANDPOSE_RUNS", "runs/tests")
    assert project_path("runs") == ROOT / "runs" / "tests" and project_path("data/rhd") == ROOT / "data" / "rhd"
    assert project_path(str(tmp_path)) == tmp_path


def test_the_home_is_found_and_what_is_no_path_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert project_path("~/RHD") == tmp_path / "RHD" and project_path("~nobody-of-this-name/RHD") == ROOT / "~nobody-of-this-name" / "RHD"
    for value in (3, 0, False, ["runs"]):
        with pytest.raises(ValueError, match="is no path: give it as a text"):
            project_path(value)


@pytest.mark.parametrize("name, value", [("seed", "abc"), ("seed", None), ("seeds", 0), ("seeds", "2"), ("threads", -1), ("threads", 1.5)])
def test_check_parameters_refuses_numbers_that_are_none(name, value):
    check_parameters({name: 2, "threads": 0}, name, "threads")
    with pytest.raises(ValueError, match=rf"{name} is {value!r}: it must be a whole number, \d or more"):
        check_parameters({name: value}, name)


@pytest.mark.parametrize("value", ["off", "no", "false", 0, None])
def test_check_parameters_refuses_switches_that_are_neither(value):
    check_parameters({"geo": False, "recorded": True}, "geo", "recorded")
    with pytest.raises(ValueError, match=f"geo is {value!r}: it must be True or False"):
        check_parameters({"geo": value, "recorded": True}, "geo", "recorded")


def test_what_a_kernel_prints_in_pieces_is_one_text():
    new = nbformat.v4.new_output
    pieces = [new("stream", name="stdout", text="a\n"), new("stream", name="stderr", text="bar"), new("stream", name="stdout", text="b\n")]
    cell = nbformat.v4.new_code_cell("print", outputs=[*pieces, new("display_data", {"text/plain": "x"}), new("stream", name="stdout", text="c\n")])
    outputs = clean(nbformat.v4.new_notebook(cells=[cell])).cells[0].outputs
    assert [output.get("text") for output in outputs] == ["a\nb\n", None, "c\n"]


def test_a_failing_notebook_leaves_no_page(tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("raise RuntimeError('no')")])
    notebook.metadata["kernelspec"] = {"name": "python3", "language": "python", "display_name": "Python 3"}
    nbformat.write(notebook, tmp_path / "in.ipynb")
    with pytest.raises(papermill.PapermillExecutionError):
        execute(tmp_path / "in.ipynb", tmp_path / "out.ipynb", {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["failed-out.ipynb", "in.ipynb"]


def test_clean_takes_out_times_and_standard_error():
    cell = nbformat.v4.new_code_cell("1", metadata={"papermill": {"duration": 1}, "tags": ["a"]})
    cell.outputs = [nbformat.v4.new_output("stream", name=name, text="x") for name in ("stderr", "stdout")]
    notebook = clean(nbformat.v4.new_notebook(cells=[cell], metadata={"papermill": {"start_time": "now"}}))
    assert "papermill" not in notebook.metadata and notebook.cells[0].metadata == {"tags": ["a"]}
    assert [output.name for output in notebook.cells[0].outputs] == ["stdout"]


def test_drawings_are_packed_and_look_the_same():
    figure, axes = plt.subplots(facecolor="white")
    axes.plot(np.random.default_rng(0).normal(size=(50, 3)))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    plt.close(figure)
    light = base64.b64decode(lighter_png(base64.b64encode(buffer.getvalue()).decode()))
    assert len(light) < 0.6 * len(buffer.getvalue())
    before, after = (np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int) for data in (buffer.getvalue(), light))
    assert np.abs(before - after).mean() < 0.2 and np.abs(before - after).max() < 64


def test_a_see_through_drawing_stays_as_it_is():
    buffer = io.BytesIO()
    Image.new("RGBA", (40, 40), (10, 20, 30, 40)).save(buffer, "png")
    encoded = base64.b64encode(buffer.getvalue()).decode()
    assert lighter_png(encoded) == encoded


def plan(*options):
    command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "notebooks" / "Snakefile", "--dry-run", "--nolock",
               "--forceall", "--printshellcmds", "--quiet", "host", *options]  # fmt: skip
    result = subprocess.run(command, cwd=ROOT / "tests", capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return re.sub(r"\s+", " ", result.stdout + result.stderr)


def test_jobs_get_their_threads_and_parameters(tmp_path, monkeypatch):
    (tmp_path / "my data").mkdir()
    typed = os.path.relpath(tmp_path / "my data", ROOT / "tests")  # relative to where it is typed
    sixteen = "import os\nos.sched_getaffinity = lambda _: range(16)\n"
    (tmp_path / "sitecustomize.py").write_text(sixteen)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    text = plan("--cores", "16", "--config", "preset=smoke", f"data_root={typed}", "dataset=rhd", "seed=3")
    data = shlex.quote(str(ROOT / "tests" / typed))
    assert "OMP_NUM_THREADS=16 NUMBA_NUM_THREADS=1 python -m handpose.notebook notebooks/data.ipynb" in text
    for name in ("disentangle", "align", "refine"):
        assert f"OMP_NUM_THREADS=2 NUMBA_NUM_THREADS=1 python -m handpose.notebook notebooks/{name}.ipynb" in text
    assert f"-p preset smoke -p dataset rhd -p data_root {data} -p output_dir runs -p row D3 -p seed 3 -p threads 2" in text


def test_more_cores_than_there_are_are_not_taken():
    here = available_cores()
    text = plan("--cores", str(here + 14), "--config", "preset=smoke")
    assert f"--cores {here + 14}: this machine has {here}, so {here} are used" in text
    assert f"OMP_NUM_THREADS={here} NUMBA_NUM_THREADS=1 python -m handpose.notebook notebooks/data.ipynb" in text
    assert "so 1 are used" not in plan("--cores", "1", "--config", "preset=smoke")


def test_what_a_page_shows_is_among_its_inputs(tmp_path):
    """Also where the checkout lies in a folder called "runs", and of variants that were trained after the page was made."""
    folder = checkout(tmp_path / "runs" / "checkout")
    variant = "runs/results/synthetic-smoke+kcs_weight=4/D3-seed0/run.json"
    for name in (variant, "tests/test_a.py", "book/runs/manifest.json", "book/.runs.lock", "book/.runs.old/x"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
    for beside in BESIDE.values():
        (folder / "book" / "runs" / "results" / f"{beside.dataset}-{beside.preset}").mkdir(parents=True)
    command = [sys.executable, "-m", "snakemake", "--snakefile", "notebooks/Snakefile", "--dry-run", "--nolock", "--cores", "1", "--config", "preset=smoke"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    inputs = {output: given.split(", ") for given, output in re.findall(r"input: (.*)\n +output: (\S+)", done.stdout + done.stderr)}
    pages = "runs/pages/synthetic-smoke-seed0"
    for claim in (one for one in CLAIMS if one.kind == "mepe"):  # with its verdict on the page of its row
        for row in filter(None, (claim.base, claim.control)):
            last = f"{stage_owner(find_row(row).stages[-1], row)}-{find_row(row).stages[-1]}-seed0.ipynb"
            assert f"{pages}/stages/{last}" in inputs[f"{pages}/row-{claim.row}.ipynb"], (claim, row)
    assert len([name for name in inputs[f"{pages}/row-A.ipynb"] if "/stages/" in name]) == 2
    assert variant in inputs[f"{pages}/decisions.ipynb"] and variant not in inputs[f"{pages}/claims.ipynb"]
    book = set(inputs["_build/html/.run-synthetic-smoke-seed0"])
    assert {"tests/test_a.py", "book/runs/manifest.json", "book/method.md"} <= book and not any(name.startswith("book/.") for name in book)


@pytest.mark.parametrize(
    ("config", "line"),
    [
        ("presett=paper", "error: --config has no 'presett', did you mean preset?; there are: preset, dataset, "),
        ("preset=quik", "error: no preset 'quik'; choose from smoke, minutes, quick, desktop, gpu, paper"),
        ("dataset=hands", "error: no dataset 'hands'; choose from synthetic, rhd, stb"),
        ("dataset=stb", "error: dataset stb needs DATA_ROOT=, the folder where you unpacked it"),
        ("data_root=nowhere", "nowhere is not a folder"),
        ("data_root=2024", "error: data_root was read as 2024, not as a text: write --config 'data_root=[\"TEXT\"]'"),
        ("data_root=/data/a: b", "error: data_root was read as {'/data/a': 'b'}, not as a text"),
        ("seed=1.5", "error: seed is 1.5: it must be a whole number, 0 or more"),
        ("seed=", "error: seed is None: it must be a whole number, 0 or more"),
        ("seeds=0", "error: seeds is 0: it must be a whole number, 1 or more"),
        ("batch_seeds=0 -1", "error: batch_seeds is 0 -1: it must be whole numbers, 0 or more"),
    ],
)
def test_a_wrong_choice_stops_before_anything_runs(config, line):
    command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "notebooks" / "Snakefile", "--dry-run", "--nolock", "--cores", "1"]
    result = subprocess.run([*command, "--config", config], cwd=ROOT / "tests", capture_output=True, text=True)
    said = result.stdout + result.stderr
    assert result.returncode != 0 and line in said and "Traceback" not in said


def test_what_is_wrong_in_a_notebook_is_said_in_one_line(tmp_path):
    command = [sys.executable, "-m", "handpose.notebook", "notebooks/data.ipynb", tmp_path / "out.ipynb", "-p", "dataset", "rhd"]
    result = subprocess.run([*command, "-p", "data_root", str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode != 0
    assert "is missing: is this the folder that holds training/ and evaluation/?" in result.stderr.strip().splitlines()[-1]
    assert "Traceback" not in result.stderr


def trainings(*config):
    """(row, stage, seed) of every training of a plan, from the names of the pages."""
    text = plan("--cores", "2", "--config", *config)
    return re.findall(r"-m handpose\.notebook \S+ runs/pages/[^/ ]+/stages/(\S+)-(\w+)-seed(\d+)\.ipynb", text)


def test_no_stage_is_trained_twice():
    once = trainings("preset=quick")
    assert len(once) == len(set(once))
    methods = [training for training in once if training[0] in PEERS]
    assert sorted(methods) == sorted((name, peer.stages[-1], "0") for name, peer in PEERS.items())  # one job for all stages of one
    once = [training for training in once if training not in methods]
    rows = [training for training in once if not training[0].endswith("longer")]
    assert len(rows) == 12  # all twelve rows of both tables, the warm-up included
    controls = (("A-longer", "further"), ("B-longer", "further"), ("D0-longer", "refine"), ("baseline-longer", "onward"), ("longer", "further"))
    assert sorted(set(once) - set(rows)) == [(row, stage, "0") for row, stage in controls]


def test_another_seed_costs_all_trainings_but_the_warm_up():
    assert len(trainings("preset=quick", "seeds=3")) == 3 * len(trainings("preset=quick")) - 2


def test_every_row_has_its_page_and_recorded_pages_train_nothing():
    text = plan("--cores", "2", "--config", "preset=desktop", "seeds=3", "recorded=1")
    assert "/stages/" not in text
    for row in (*ROWS, *CONTROLS, *PEERS):
        assert f"runs/pages/synthetic-desktop-seed0to2-recorded/row-{row}.ipynb" in text
    assert text.count("-p recorded true") == len(ROWS) + len(CONTROLS) + len(PEERS) + len(ALL) - 2 + len(BESIDE)
    for page, beside in BESIDE.items():
        assert f"/{page}.ipynb -p preset {beside.preset} -p dataset {beside.dataset} " in text


def test_the_slurm_profile_plans_the_same_jobs():
    local = plan("--cores", "2", "--config", "preset=smoke")
    cluster = plan("--profile", str(ROOT / "notebooks" / "profiles" / "slurm"), "--config", "preset=smoke")
    assert set(re.findall(r"handpose\.notebook (\S+ \S+)", cluster)) == set(re.findall(r"handpose\.notebook (\S+ \S+)", local))


def test_slurm_is_asked_for_what_the_profile_says(tmp_path, monkeypatch):
    """SLURM's commands stand in for it: they note what they were asked for, and the first job is refused."""
    for name, code in {"sbatch": 1, **dict.fromkeys(("sacct", "sacctmgr", "scontrol", "sinfo", "squeue"), 0)}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\necho {name} \"$@\" >> {shlex.quote(str(tmp_path / 'log'))}\nexit {code}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "notebooks" / "Snakefile", "--nolock",
               "--profile", ROOT / "notebooks" / "profiles" / "slurm", "--slurm-init-seconds-before-status-checks", "1",
               "--config", "preset=smoke", "seed=77", "--", "runs/pages/synthetic-smoke-seed77/data.ipynb"]  # fmt: skip
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    asked = [line for line in (tmp_path / "log").read_text().splitlines() if line.startswith("sbatch")]
    assert result.returncode == 1 and len(asked) == 1, result.stdout + result.stderr
    for option in ("--cpus-per-task=8", "--mem 4000", "-t 60"):
        assert f" {option} " in asked[0]


@pytest.mark.parametrize("name", ["a #b", "a: b", "0123", "é 手 😀 "])
def test_a_data_root_arrives_as_it_was_typed(tmp_path, name):
    """Whatever YAML makes of it: from `make`, and from a batch."""
    for folder in {"a", name}:
        (tmp_path / folder).mkdir()
    done = subprocess.run(["make", "--dry-run", "book", f"DATA_ROOT={name}", "PRESET=smoke"], cwd=ROOT, capture_output=True, text=True)
    line = next(line for line in done.stdout.replace("\\\n", " ").splitlines() if "-m snakemake" in line)
    for words, page in ((shlex.split(line), "seed0"), (command(["A"], [0], "smoke", data_root=name), "batch")):
        given = [*words[words.index("--config") :], "--", f"runs/pages/synthetic-smoke-{page}/data.ipynb"]
        options = ["--snakefile", ROOT / "notebooks" / "Snakefile", "--dry-run", "--printshellcmds", "--nolock", "--force", "--cores", "1"]
        done = subprocess.run([sys.executable, "-m", "snakemake", *options, *given], cwd=tmp_path, capture_output=True, text=True)
        assert f"-p data_root {shlex.quote(str(tmp_path / name))} -p output_dir" in done.stdout + done.stderr


def test_an_empty_data_root_stays_empty():
    assert "-p data_root '' -p" in plan("--cores", "1", "--config", "data_root=")


@pytest.fixture
def page(tmp_path):
    """A page as ``execute`` leaves it, beside its notebook in ``tmp_path / "notebooks"``."""
    (tmp_path / "notebooks").mkdir()
    source = tmp_path / "notebooks" / "one.ipynb"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x = 1", metadata={"tags": ["parameters"]})])
    notebook.metadata["kernelspec"] = {"name": "python3", "language": "python", "display_name": "Python 3"}
    nbformat.write(notebook, source)
    execute(source, tmp_path / "page.ipynb", {"x": 2})
    return tmp_path / "page.ipynb"


def test_a_page_says_what_it_was_made_of(page):
    kept = nbformat.read(page, 4).metadata["handpose"]
    assert kept == made_of(page.parent / "notebooks" / "one.ipynb") | {"parameters": {"x": "2"}}
    assert stale_page(page, page.parent / "notebooks") == ""


def test_a_page_is_stale_when_its_notebook_or_its_code_changed(page, monkeypatch):
    source = page.parent / "notebooks" / "one.ipynb"
    notebook = nbformat.read(source, 4)
    notebook.cells[0].metadata["caption"] = "What to see in it."
    nbformat.write(notebook, source)
    assert stale_page(page, source.parent) == "its notebook one.ipynb has changed"
    del notebook.cells[0].metadata["caption"]
    nbformat.write(notebook, source)
    assert stale_page(page, source.parent) == ""
    notebook.cells[0].source = "x = 3"
    nbformat.write(notebook, source)
    assert stale_page(page, source.parent) == "its notebook one.ipynb has changed"
    monkeypatch.setattr("handpose.notebook.source_digest", lambda *modules: "other")
    assert stale_page(page, source.parent) == "its notebook one.ipynb has changed; the code that computes its figures has changed"
    source.unlink()
    assert stale_page(page, source.parent) == "its notebook one.ipynb is gone"


def test_a_page_that_does_not_say_is_stale(page):
    notebook = nbformat.read(page, 4)
    del notebook.metadata["handpose"]
    nbformat.write(notebook, page)
    assert "does not say" in stale_page(page, page.parent / "notebooks")


def test_a_changed_result_changes_the_page(tmp_path):
    preset = "smoke+training=40+evaluation=12+disentangle_epochs=1"
    options = dict(preset=preset, output_dir=tmp_path, progress=False, device="cpu")
    kept = [obtain(row, **options).folder for row in ("baseline", "A")]

    def text():
        execute(ROOT / "notebooks" / "results.ipynb", tmp_path / "page.ipynb", {"preset": preset, "output_dir": str(tmp_path)})
        cells = nbformat.read(tmp_path / "page.ipynb", 4).cells
        return "".join(str(output) for cell in cells for output in cell.get("outputs", []) if "iVBOR" not in str(output))

    before = text()
    assert before == text()
    card = json.loads((kept[0] / "run.json").read_text())
    figure = f"{card['metrics']['mepe']:.1f}"
    card["metrics"]["mepe"] = 12.3
    (kept[0] / "run.json").write_text(json.dumps(card))
    half = Results(kept[1].parent)["A", 0].predicted / 2
    np.savez(kept[1] / "predictions.npz", predicted=half)
    error = f"{Results(kept[1].parent).errors('A', 0).mean():.2f}"
    after = text()
    assert figure in before and "12.3" not in before and "12.3" in after
    assert error not in before and error in after


_PROSE = [*sorted((ROOT / "book").glob("*.md")), ROOT / "README.md", *sorted((ROOT / "notebooks").glob("*.py"))]


def written(path):
    """The prose of a page's source: no code, no formulas, no addresses. Of a notebook its texts and its figures' captions."""
    text = path.read_text()
    if path.suffix == ".py":
        cells = [cell.partition("\n") for cell in re.split(r"(?m)^# %%", text)]
        texts = [re.sub(r"(?m)^# ?", "", body) for head, _, body in cells if head.startswith(" [markdown]")]
        text = "\n\n".join(texts + re.findall(r'caption="([^"]*)"', text))
    text = re.sub(r"(?ms)^(```|~~~|:::)\S*.*?^\1", "", text)
    return re.sub(r"(?s)\$\$.*?\$\$|\$[^$]*\$|`[^`]*`|\]\([^)]*\)|https?://\S+", "", text)


#: A number that could be a result: with a fraction, with a unit, in a table's cell, or beside an arrow.
_RESULT = re.compile(
    r"(?i)(?<![\w.])(\d+\.\d+|\d+(?=\s*(?:mm|cm|%|per ?cent|px|times|×|x |seconds?|minutes?|hours?|days?|s\b|[kmg]i?b\b|±|→|\|))|(?<=→ )\d+)"
)


@pytest.mark.parametrize("path", _PROSE, ids=lambda path: path.name)
def test_no_page_source_holds_a_typed_result(path):
    """What looks like a result is the paper's or one of the settings that its page explains; ours come from runs."""
    paper = {f"{row.paper:.2f}" for row in ROWS.values() if row.paper} | set(_PAPER)
    allowed = paper | set(_SETTINGS.get(path.name, "").split())
    assert set(_RESULT.findall(written(path))) <= allowed


def test_what_looks_like_a_result_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("It gets 21 mm, 3 % less, an AUC of 0.8, 2 times as fast, 9 ± 1,\n| 7 | and `5 mm` of $6$ mm.\n\n```python\n8 mm\n```\n")
    assert _RESULT.findall(written(page)) == ["21", "3", "0.8", "2", "9", "7"]
    page = tmp_path / "page.py"
    page.write_text('# %% [markdown]\n# It gets\n# 21 mm.\n\n# %% caption="Now 4 mm."\nprint("5 mm")  # 6 mm\n')
    assert _RESULT.findall(written(page)) == ["21", "4"]


#: Numbers with a unit or a fraction that are no results: the paper's sections, thresholds, intervals, sizes of files and of pictures,
#: weights. README's say what an installation needs.
_SETTINGS = {
    "claims.md": "4.2 50 4.3 3.1 3.2 3.3",
    "method.md": "4.2 2 0.5 50 20",
    "peers.md": "4.4",
    "speed.md": "64 256",
    "README.md": "3.11 7 40 2 20",
    "claims.py": "95 2000 3.3 3.2 3.1 0.25",
    "datasets.py": "320 42 3 640 5 0",
    "decisions.py": "50 0 95 20 400 21 3990 100",
    "inside.py": "90 4",
    "peers.py": "50 4.4 95",
    "predict.py": "35 36 1.3 95",
}  # fmt: skip

#: Figures of the paper that the prose quotes (Table 3, section 4), and the first threshold of the field's AUC.
_PAPER = (
    "21.05 30.42 8.68 20.89 7.95 19.95 8.66 19.73 8.56 17.11 7.27 15.77 15.61 6.93 13.88 6.71 0.930 0.997 2.7 2.5 11.6 0.11".split()
)
#: Figures of others that book/peers.md quotes: means of eval_full.py in lmb-freiburg/hand3d (RHD, STB), and the README
#: "Evaluations on hand pose estimation with RGB" (Spurr RHD and STB, Iqbal RHD; AUC of Yang & Yao, and of Iqbal on STB).
_PAPER += "35.61 12.21 21.15 9.49 13.41 0.849 0.991 0.994".split()


def outputs(page):
    cells = nbformat.read(page, 4).cells
    return "".join(output.get("text", "") for cell in cells for output in cell.get("outputs", []))


def test_the_page_of_ones_own_hand_takes_a_picture(tmp_path):
    preset = "smoke+training=40+evaluation=12+disentangle_epochs=1"
    Image.fromarray(np.full((60, 90, 3), 120, np.uint8)).save(tmp_path / "mine.png")
    options = dict(preset=preset, output_dir=str(tmp_path), picture=str(tmp_path / "mine.png"), hand="left", box="10 5 70 55", scale=38)
    execute(ROOT / "notebooks" / "predict.ipynb", tmp_path / "page.ipynb", options)
    text = outputs(tmp_path / "page.ipynb")
    assert "mine.png, 90 x 60 px" in text and "given: hand left, box 10 5 70 55, scale 38" in text
    assert "assumed: K: a camera as wide as the picture" in text and "assumed: root: estimated at" in text
    assert f"MEPE of row D3, preset {preset}, 12 evaluation frames" in text


def test_the_recorded_page_of_ones_own_hand_needs_no_networks(tmp_path):
    recorded = dict(preset="desktop", recorded=True, output_dir=str(tmp_path))
    execute(ROOT / "notebooks" / "predict.ipynb", tmp_path / "page.ipynb", recorded)
    text = outputs(tmp_path / "page.ipynb")
    assert "the prediction is the one that was kept" in text and "assumed" not in text
    kept = unpack(obtain("D3", preset="desktop", recorded=True).analysis) is not None
    assert ("not kept with this run" in text) is not kept and ("MEPE of row D3" in text) is kept
    with pytest.raises(papermill.PapermillExecutionError, match="needs the networks"):
        execute(ROOT / "notebooks" / "predict.ipynb", tmp_path / "none.ipynb", recorded | {"picture": "mine.png"})
    assert not (tmp_path / "none.ipynb").exists()
