"""Files and parameters that mean harm: nothing they hold is run, leads elsewhere, or stands on a page as markup."""

import ast
import os
import re
import subprocess
import sys

import pandas as pd
import plotly.graph_objects as go
import pytest
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from handpose import tables_html
from handpose.decisions import as_html as decisions_html
from handpose.experiments import find_preset, stage_settings
from handpose.notebook import _typed, show, show_card, show_run
from handpose.records import PACKAGE, read_json, write_json
from handpose.results import RECORDED, Results, obtain, results_folder
from handpose.runs import open_run, run_stage

ROOT = PACKAGE.parent
MARKUP = '"><img src=x onerror=alert(1)><script>alert(1)</script>\''


def calls(text):
    """Every call in a source, as (name with dots, names of its keywords that are given as True)."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call):
            given = {word.arg: getattr(word.value, "value", None) for word in node.keywords}
            yield ast.unparse(node.func), given


def risks(text):
    """What in a source would run or believe a file or a text: a list of calls."""
    found = []
    for name, given in calls(text):
        last = name.rpartition(".")[2]
        bad = name in ("eval", "exec", "compile", "os.system", "os.popen", "__import__") or given.get("shell") or given.get("allow_pickle")
        kept = re.search(r"\b(pickle|marshal|dill|joblib|shelve)$", name.rpartition(".")[0])
        bad = bad or kept and last in ("load", "loads", "Unpickler", "open")
        bad = bad or name == "torch.load" and given.get("weights_only") is not True
        bad = bad or name.startswith("yaml.") and last not in ("safe_load", "safe_dump", "dump")
        found += [name] * bool(bad)
    return found


@pytest.mark.parametrize("text", [
    "eval(x)", "exec(x)", "os.system(x)", "subprocess.run(x, shell=True)", "np.load(x, allow_pickle=True)", "pickle.loads(x)",
    "pickle.load(x)", "torch.load(x)", "torch.load(x, weights_only=False)", "yaml.load(x)",
])  # fmt: skip
def test_a_risk_is_seen(text):
    assert risks(text)


@pytest.mark.parametrize("text", ["torch.load(x, weights_only=True)", "np.load(x)", "pickle.dumps(x)", "subprocess.run([x])", "net.eval()"])
def test_what_is_no_risk_is_none(text):
    assert not risks(text)


@pytest.mark.parametrize("folder", ["handpose", "notebooks", "book/_ext"])
def test_nothing_that_is_read_is_run(folder):
    sources = sorted((ROOT / folder).rglob("*.py"))
    assert sources
    assert {path.name: risks(path.read_text()) for path in sources if risks(path.read_text())} == {}


PATHS = ["../../x", "/tmp/x", "..", "a/b", "0/../../x", "0\n", " 0"]


@pytest.mark.parametrize("seed", [*PATHS, "0", -1, 1.5, True, None])
def test_a_seed_that_is_a_path_makes_no_folder(tmp_path, seed):
    with pytest.raises(ValueError, match="seed must be an integer"):
        run_stage("disentangle", "baseline", "smoke+weights=none", seed=seed, output_dir=tmp_path / "runs")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["preset", "dataset", "row"])
@pytest.mark.parametrize("value", PATHS[:5])
def test_a_parameter_that_is_a_path_leads_nowhere(tmp_path, name, value):
    for recorded in (False, True):
        with pytest.raises((ValueError, FileNotFoundError), match=r"no (preset|dataset|row) |can't be the name|/\.\.-smoke holds no"):
            obtain(**{"row": "baseline", "preset": "smoke", "output_dir": tmp_path / "runs", "recorded": recorded} | {name: value})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", ["..", "a/b", "/etc"])
def test_results_lie_under_results(value):
    with pytest.raises(ValueError, match="no paths"):
        results_folder(f"{value}/x", value)


@pytest.mark.parametrize("change", ["batch= 8", "batch=8\n", "beta=1e-4 ", "weights=a\n", "batch=8;x", "beta=$(x)"])
def test_a_preset_holds_nothing_that_a_shell_or_a_path_would_take_for_more(change):
    with pytest.raises(ValueError, match="is wanted") as error:
        find_preset(f"quick+{change}")
    assert "\n" not in str(error.value)


def test_the_right_seeds_are_taken():
    assert stage_settings("disentangle", "B", "smoke", 3)["seed"] == 3


@pytest.mark.parametrize("folder", ["../../../../etc", "/etc", "..", "a/../b"])
def test_a_run_card_that_leads_elsewhere_is_refused(tmp_path, folder):
    card = read_json(RECORDED / "synthetic-minutes" / "D3-seed0" / "run.json")
    card["stages"]["refine"]["folder"] = folder
    write_json(tmp_path / "results" / "synthetic-minutes" / "D3-seed0" / "run.json", card)
    with pytest.raises(ValueError, match="which is no stage's: take another run card"):
        open_run(tmp_path / "results" / "synthetic-minutes" / "D3-seed0")


HARM = ['"; import os; os.environ["HARM"] = "1"; "', "'''\nimport os; os.environ['HARM'] = '1'\n'''", "\\", '\\"', "{x}", "$(x)", "`x`",
        "a\nb", "__import__('os').environ.setdefault('HARM', '1')"]  # fmt: skip


@pytest.mark.parametrize("value", HARM)
def test_a_parameter_arrives_as_the_text_that_was_typed(value):
    """As ``handpose.notebook`` and papermill hand it on; nothing in it is run."""
    given = {"preset": _typed(value), "data_root": [value], "row": {"a": value}}
    notebook = parameterize_notebook(load_notebook_node(str(ROOT / "notebooks" / "data.ipynb")), given)
    cell = next(cell for cell in notebook.cells if "injected-parameters" in cell.metadata.get("tags", ()))
    names = {}
    exec(cell.source, names)  # what the kernel does
    assert {name: names[name] for name in given} == given and "HARM" not in os.environ


def make(*arguments):
    own = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}  # under `make test`
    return subprocess.run(["make", "--dry-run", *arguments], cwd=ROOT, capture_output=True, text=True, env=own)


@pytest.mark.parametrize("value", [
    "PRESET=x; touch harm", "PRESET=$(shell touch harm)", "DATA_ROOT=/a\"; touch harm; \"", "DATA_ROOT=`touch harm`", "SEEDS=1;touch harm",
    "SEED=0|x", "DATASET=a&b", "ROWS=A\" B", "CORES=2>x", "PROFILE=$$x", "PRESET=a\nb",
])  # fmt: skip
def test_make_hands_a_shell_nothing_but_values(value):
    done = make("book", value)
    assert done.returncode != 0 and not done.stdout and "which a shell would act on: give a plain value" in done.stderr
    assert not (ROOT / "harm").exists()


def test_make_takes_plain_values():
    done = make("book", "PRESET=quick+beta=1e-4", "DATA_ROOT=/my (own) hands, it's here", "DATASET=rhd", "SEEDS=3", "CORES=2")
    assert done.returncode == 0, done.stderr
    assert 'preset=quick+beta=1e-4 dataset=rhd data_root="[\\"/my (own) hands, it\'s here\\"]"' in re.sub(r"\\?\s+", " ", done.stdout)


def test_a_data_root_is_one_word_of_every_command(tmp_path):
    root = tmp_path / "{output}; touch harm; $(touch harm) it's here"
    root.mkdir()
    options = ["--dry-run", "--printshellcmds", "--nolock", "--cores", "1", "--config", "preset=smoke", "dataset=rhd", f"data_root={root}"]
    command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "notebooks" / "Snakefile", *options]
    command += ["--", "runs/pages/rhd-smoke-seed0/data.ipynb"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    line = next(line for line in (done.stdout + done.stderr).splitlines() if "-m handpose.notebook" in line)
    typed = f"printf '%s\\0' {line.partition('-m handpose.notebook')[2]}"
    words = subprocess.run(["bash", "-c", typed], cwd=tmp_path, capture_output=True, text=True).stdout.split("\0")
    assert words[words.index("data_root") + 1] == str(root)
    assert not (tmp_path / "harm").exists()


def displayed(monkeypatch, call, *arguments):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda bundle, **_: shown.append(bundle["text/html"]))
    call(*arguments)
    return shown[0]


def assert_no_markup(text):
    assert "<img" not in text and "<script>alert" not in text and "onerror" in text


def hostile_card():
    card = read_json(RECORDED / "synthetic-minutes" / "D3-seed0" / "run.json")
    names = ("row", "stage", "preset", "dataset", "device", "commit", "identity", "data_fingerprint", "platform", "weights", "precision")
    return card | dict.fromkeys(names, MARKUP) | {"versions": {MARKUP: MARKUP}, "seed": MARKUP}


def test_text_from_a_card_is_escaped(monkeypatch):
    class Shown:
        card = hostile_card()

    assert_no_markup(displayed(monkeypatch, show_card, hostile_card()))
    assert_no_markup(displayed(monkeypatch, show_run, Shown(), Shown()))


def test_text_in_tables_is_escaped():
    table = pd.DataFrame({MARKUP: [MARKUP]}, index=pd.Index([MARKUP], name=MARKUP))
    for text in (tables_html.as_html(table, caption=MARKUP), tables_html.as_html(table, f"{MARKUP}{{}}"), decisions_html(table)):
        assert_no_markup(text)
    deep = pd.DataFrame([[MARKUP]], index=[(MARKUP, MARKUP)], columns=pd.MultiIndex.from_tuples([(MARKUP, MARKUP)]))
    assert_no_markup(tables_html.as_html(deep))


def test_text_in_an_interactive_figure_ends_no_script(monkeypatch):
    points = go.Scatter(x=[1], y=[1], text=["</script><script>alert(1)</script>"], hovertext=[MARKUP])
    figure = go.Figure(points, {"title": {"text": MARKUP}})
    text = displayed(monkeypatch, show, figure, "name", MARKUP, MARKUP)
    assert "<script>alert" not in text and "<img" not in text
    assert text.count("</script>") == len(re.findall(r"<script\b", text))


def test_a_subject_with_markup_in_its_name_stays_a_value(tmp_path):
    """Names of subjects and actions come from a table beside the frames; tables and figures take them as text."""
    results = Results(RECORDED / "synthetic-minutes")
    factors = results.factors.assign(action=MARKUP)
    counts = factors.groupby("action").size().rename("frames").to_frame()
    assert_no_markup(tables_html.as_html(counts, link=""))
