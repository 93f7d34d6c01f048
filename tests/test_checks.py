"""The mutation check: its changes, its verdicts, and that what is recorded was measured on the sources as they are."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from sphinx.errors import SphinxError

from handpose.records import read_check
from handpose.results import RECORDED, Results
from tests.bench import inputs, networks, profiled, sharing
from tests.mutants import EQUIVALENT, RESULT, TESTS, judged, mutants_of, source_digest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "book" / "_ext"))
from checks import bench_lines, fuzz_lines, kept_check, mutant_lines, precision_lines, share_caught, soak_lines  # noqa: E402 (the book's own extension)

SOURCE = '''
"""Words - not code."""

def f(a, b=2):
    """a + b"""
    if a < b and not a:
        raise ValueError(f"{a} + 1")
    a = -a * b
    return x[..., 0].sum(-1)
'''


def changed(source):
    return {(one.operator, one.before, one.after) for one in mutants_of("m", source)}


@pytest.mark.parametrize(
    "change",
    [
        ("operator", "-a * b", "-a / b"),
        ("sign", "-a", "a"),
        ("comparison", "a < b", "a <= b"),
        ("comparison", "a < b", "a > b"),
        ("operator", "a < b and (not a)", "a < b or not a"),
        ("not", "not a", "a"),
        ("statement left out", "a = -a * b", "pass"),
        ("statement left out", "raise ValueError(f'{a} + 1')", "pass"),
        ("constant", "(..., 0)", "(..., 1)"),
        ("sign", "-1", "1"),
        ("constant", "-1", "-2"),
        ("function", "x[..., 0].sum(-1)", "x[..., 0].mean(-1)"),
        ("function left out", "x[..., 0].sum(-1)", "x[..., 0]"),
    ],
)
def test_a_change_of_each_kind(change):
    assert change in changed(SOURCE)


def test_every_mutant_is_a_program_of_its_own_and_words_stay():
    mutants = mutants_of("m", SOURCE)
    sources = [one.source for one in mutants]
    assert len(set(sources)) == len(sources) and ast.unparse(ast.parse(SOURCE)) not in sources
    for source in sources:
        tree = ast.parse(source)
        assert ast.get_docstring(tree) == "Words - not code." and ast.get_docstring(tree.body[1]) == "a + b"
    assert not any("--" in source for source in sources)  # the same as no minus
    assert [one.line for one in mutants] == sorted(one.line for one in mutants)


def test_what_is_reassigned_can_be_left_out_and_what_is_new_can_not():
    assert ("statement left out", "a = a + 1", "pass") in changed("a = a + 1")
    assert not [one for one in changed("a = b + 1") if one[0] == "statement left out"]


def test_tests_run_on_the_changed_copy():
    """As it is skeleton passes; with a bone that starts elsewhere it fails; one that hangs is ended."""
    script = """
import tempfile
from pathlib import Path
from tests.mutants import PACKAGE, outcome, start, workplace
source = (PACKAGE / "skeleton.py").read_text()
with tempfile.TemporaryDirectory() as folder:
    workplace(Path(folder))
    for text, limit in ((source, 300), (source.replace("joint - 1, joint)", "joint - 2, joint)"), 300), ("while True: pass", 1)):
        print(outcome(start(text, "skeleton", Path(folder)), limit))
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stdout.split("\n")[:3] == ["passed", "failed", "too long"], done.stderr


def test_the_page_lists_what_lived_on():
    one = {"module": "losses", "function": "f", "line": 3, "operator": "sign", "before": "-a", "after": "a"}
    counts = {"mutants": 10, "caught": 8, "survived": 1, "equivalent": 1, "survivors": [one, one | {"equivalent": "a is 0"}]}
    text = "\n".join(mutant_lines({"losses": counts}))
    assert "| `losses.py` | 10 | 8 | 1 | 1 | 88.9 |" in text
    assert text.count("line 3: `-a` became `a`") == 2 and text.endswith("`a`: a is 0")
    assert mutant_lines({}).count("None.") == 2


def test_a_survivor_with_a_reason_counts_apart(monkeypatch):
    one = {"module": "losses", "function": "f", "line": 3, "operator": "sign", "before": "-a", "after": "a"}
    result = {"mutants": 3, "caught": 1, "survivors": [one, one | {"after": "b"}]}
    monkeypatch.setitem(EQUIVALENT, ("losses", "f", "-a", "a"), "a is 0")
    found = judged(result)
    assert (found["survived"], found["equivalent"]) == (1, 1)
    assert [other.get("equivalent") for other in found["survivors"]] == ["a is 0", None]
    monkeypatch.delitem(EQUIVALENT, ("losses", "f", "-a", "a"))
    assert judged(found)["survived"] == 2  # a reason that is taken back


# What is recorded


RECORD = read_check(RESULT)


@pytest.mark.parametrize("module", TESTS)
def test_the_record_is_of_the_sources_and_tests_as_they_are(module):
    """A file or its tests changed: `make mutants` again."""
    assert RECORD[module]["source"] == source_digest(module)


@pytest.mark.parametrize("module", TESTS)
def test_at_least_95_per_cent_are_caught_and_all_are_accounted_for(module):
    counts = RECORD[module]
    assert counts["mutants"] == len(mutants_of(module, (ROOT / "handpose" / f"{module}.py").read_text())) > 100
    assert counts["mutants"] == sum(counts[kind] for kind in ("caught", "survived", "equivalent"))
    assert counts["caught"] == sum(one.get("caught", 0) for one in counts["operators"].values())
    assert counts == judged(counts)
    assert len([one for one in counts["survivors"] if "equivalent" not in one]) == counts["survived"]
    assert len(counts["survivors"]) == counts["survived"] + counts["equivalent"]
    assert share_caught(counts) >= 0.95


def test_the_page_counts_kills_and_damaged_datasets():
    about = {"seed": 0, "platform": "Linux", "commit": "0123456789abcdef"}
    points = [{"phase": "align", "recovered": True}, {"phase": "align", "recovered": False}]
    text = "\n".join(soak_lines(about | {"count": 2, "recovered": 1, "phases": {"align": 2}, "points": points, "seconds": 120}))
    assert "| training stage 2 | 2 | 1 |" in text and "| **all** | **2** | **1** |" in text and "2 minutes" in text
    outcomes = {"read as before": 5, "read as changed": 2, "refused": 3, "hang": 1, "wrong": 1}
    assert "| RHD | 12 | 5 | 2 | 3 | 2 |" in "\n".join(fuzz_lines(about | {"outcomes": {"rhd": outcomes}}))


@pytest.mark.parametrize("path", sorted(RESULT.parent.glob("*.json")), ids=lambda path: path.stem)
def test_a_check_that_is_edited_is_not_shown(path, tmp_path):
    """One figure changed by hand, in a copy: the build stops and says so."""
    copy = tmp_path / "book" / "checks" / path.name
    copy.parent.mkdir(parents=True)
    shutil.copy(path, copy)
    assert kept_check(tmp_path, path.stem) == read_check(path)
    text = copy.read_text()
    digit = re.search(r"(?<=: )[1-8](?=\d*,?\n)", text).start()
    copy.write_text(text[:digit] + str(int(text[digit]) + 1) + text[digit + 1 :])
    with pytest.raises(SphinxError, match=r"was changed after it was measured: run the check again"):
        kept_check(tmp_path, path.stem)
    copy.unlink()
    with pytest.raises(SphinxError, match=path.name):
        kept_check(tmp_path, path.stem)


def test_the_recorded_checks_are_whole_and_nothing_went_wrong():
    soak, fuzz = (read_check(RESULT.parent / f"{name}.json") for name in ("soak", "fuzz"))
    assert soak["recovered"] == soak["count"] == len(soak["points"]) == 50
    assert all(point["recovered"] and not point["wrong"] for point in soak["points"])
    good = ("read as before", "read as changed", "refused")
    assert sum(outcomes[name] for outcomes in fuzz["outcomes"].values() for name in good) == fuzz["count"] == 1000
    assert fuzz["bad"] == []


def test_the_page_of_speeds_says_which_bar_is_missed():
    figure = {"topic": "losses", "what": "memory", "value": "53 MiB", "bar": "under 25 MB", "holds": False}
    free = {"topic": "training", "what": "images a second", "value": "200", "bar": "", "holds": None}
    about = {"device": "CPU", "cores": 2, "load": 0.1, "seconds": 300, "commit": "0123456789abcdef"}
    text = "\n".join(bench_lines(about | {"figures": [figure, free]}))
    assert "| losses | memory | 53 MiB | under 25 MB: **missed** |" in text and "| training | images a second | 200 |  |" in text


def test_what_was_made_without_git_is_shown_all_the_same():
    about = {"seed": 0, "platform": "Linux", "device": "CPU", "cores": 2, "load": 0.1, "seconds": 300, "commit": None}
    soak = {"count": 0, "recovered": 0, "phases": {}, "points": []}
    pages = soak_lines(about | soak), fuzz_lines(about | {"outcomes": {}}), bench_lines(about | {"figures": []})
    assert all(", not in git" in lines[-1] for lines in pages)


@pytest.mark.parametrize("compiler", ["/usr/bin/g++", None])
def test_only_what_compiles_counts_as_compiling(monkeypatch, compiler):
    clock = [0.0]

    def steps(*arguments, compiled=False, **options):
        def seconds():
            clock[0] += 30 if compiled else 100
            return 1.0

        return SimpleNamespace(seconds=seconds)

    monkeypatch.setattr(networks, "Steps", steps)
    monkeypatch.setattr(networks, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    monkeypatch.setattr(networks, "shutil", SimpleNamespace(which=lambda _: compiler))
    monkeypatch.setattr(networks, "choose_precision", lambda *_: "bf16-mixed")
    said = [figure.value for figure in networks.of_arithmetic() if figure.what == "until torch.compile was done"]
    assert said == ["30 seconds"] * (compiler is not None)


def test_other_code_and_other_frames_have_shards_of_their_own(monkeypatch):
    one = inputs.shard_folder("frames-v1")
    assert inputs.shard_folder("frames-v1") == one != inputs.shard_folder("frames-v2")
    monkeypatch.setattr(inputs, "source_digest", lambda *_: "0123456789abcdef")
    assert inputs.shard_folder("frames-v1") != one


def test_a_training_that_died_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(sharing, "_work", divmod)  # which takes no barrier: an error in the process
    with pytest.raises(RuntimeError, match="a training ended with exit code 1"):
        sharing._rate(2, 1)


def test_a_profile_adds_up_to_the_whole():
    names = ("aten::mkldnn_convolution", "aten::convolution_backward", "aten::native_batch_norm", "aten::addmm", "aten::copy_", "aten::relu")
    kinds = ["convolutions", "convolutions", "batch normalisation", list(profiled.KINDS)[2], "copies and conversions", "other operations"]
    assert [profiled.kind_of(name) for name in names] == kinds
    found = profiled.shares(dict.fromkeys(names, 1.0), 8.0)
    assert list(found.items())[0] == ("convolutions", 0.25) and sum(found.values()) == pytest.approx(1)
    assert list(found.values())[-1] == pytest.approx(0.25)


def test_benchmarks_are_measured_and_kept(tmp_path):
    """The one that trains nothing; `make bench` runs all."""
    kept = tmp_path / "bench.json"
    command = [sys.executable, "-m", "tests.bench", "sharing", "--output", str(kept)]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    figures = json.loads(kept.read_text())["figures"]
    assert [one["topic"] for one in figures] == ["sharing", "sharing"] and all(one["value"] in said for one in figures)
    wrong = subprocess.run([*command[:3], "speed"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert wrong.returncode == 2 and wrong.stderr.splitlines()[-1].startswith("python -m tests.bench: error: unknown: speed; the topics are")


def test_rows_in_both_precisions_stand_side_by_side(tmp_path, monkeypatch):
    plain, half = (Results(RECORDED / name) for name in ("synthetic-minutes", "synthetic-minutes+precision=bf16-mixed"))
    text = "\n".join(precision_lines())
    for row in ("baseline", "D3"):
        seeds = half.seeds(row)
        assert len(seeds) > 1
        for results, precision in ((plain, "32-true"), (half, "bf16-mixed")):
            assert {results[row, seed].card["precision"] for seed in seeds} == {precision}
        both = [np.mean([results.errors(row, seed).mean() for seed in seeds]) for results in (plain, half)]
        assert f"| {row} | {', '.join(map(str, seeds))} | {both[0]:.2f} | {both[1]:.2f} |" in text
        assert all(half[row, seed].card["commit"][:7] in text for seed in seeds)
    shutil.copytree(RECORDED / "synthetic-minutes", tmp_path / "synthetic-minutes")
    assert precision_lines(tmp_path) == ["Not measured yet."]
    monkeypatch.setattr("checks.compare", lambda *_: None)  # trained by code that is not alike
    assert precision_lines() == ["Not measured yet."]
