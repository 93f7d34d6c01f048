"""The equation index: nothing is missing, and each line of it is true."""

import importlib
import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "book" / "_ext"))
from equations import formulas, read_table  # noqa: E402 (the book's own extension)

TABLE = read_table(ROOT)
by_number = pytest.mark.parametrize("line", TABLE, ids=lambda line: str(line["number"]))


def named(text):
    """Numbers of the equations that a text names: "eqs. 2, 3 and 5-7" -> {2, 3, 5, 6, 7}."""
    numbers = set()
    for run in re.findall(r"\b[Ee]qs?\.\s*((?:\d+(?:\s*[-–]\s*\d+)?(?:\s*,\s*|\s+and\s+)?)+)", text):
        for first, last in re.findall(r"(\d+)(?:\s*[-–]\s*(\d+))?", run):
            numbers |= set(range(int(first), int(last or first) + 1))
    return numbers


def test_numbers_are_read_as_they_are_written():
    assert named("eqs. 2, 3, 6 and 7; eq. 12 of the paper") == {2, 3, 6, 7, 12}
    assert named("KCS = B^T B of eqs. 8-12.") == {8, 9, 10, 11, 12}
    assert named("equation 4, seq. 5, section 3.1") == set()


def test_all_19_equations_of_the_paper_are_there():
    assert [line["number"] for line in TABLE] == list(range(1, 20))


@by_number
def test_the_function_exists_and_names_the_equation(line):
    module, _, name = line["function"].rpartition(".")
    function = getattr(importlib.import_module(f"handpose.{module}"), name)
    assert line["number"] in named(inspect.getdoc(function)), f"the docstring of {line['function']} names other equations"


@by_number
def test_the_formula_is_on_the_page_of_the_method_under_the_papers_number(line):
    assert line["label"] in formulas(ROOT)
    before = (ROOT / "book" / "method.md").read_text().partition(f":label: {line['label']}\n")[0]
    said = re.findall(r"\(eqs?\.[^()]*of the paper\)|takes the place of eq\. \d+ of the paper", before)
    near = [one for one in said if line["number"] in named(one)]
    assert near, f"nothing before {line['label']} says that it is eq. {line['number']} of the paper"
    assert len(before) - before.rindex(near[-1]) < 900


@by_number
def test_the_page_where_it_is_at_work_is_in_the_book(line):
    assert f"book/{line['page']}\n" in (ROOT / "_toc.yml").read_text()


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    """What the tests of the index call when they run."""
    file = tmp_path_factory.mktemp("calls") / "calls.json"
    tests = sorted({line["test"] for line in TABLE})
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.calls", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"CALLS": str(file)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(file.read_text())


@by_number
def test_the_test_exists_passes_and_calls_the_function(line, calls):
    assert line["function"] in calls[line["test"]]


def test_the_index_leads_to_code_test_and_page(built):
    text = (built / "book" / "equations.html").read_text()
    for line in TABLE:
        start = text.index(f'id="paper-eq-{line["number"]}"')
        end = text.find('id="paper-eq-', start + 20)
        entry = text[start : end if end > 0 else text.index("The tests", start)]
        assert f'href="api/{line["function"].split(".")[0].replace("stages", "models")}.html#handpose.{line["function"]}"' in entry
        assert 'href="#test-' in entry and f'href="method.html#equation-{line["label"]}"' in entry
        assert f'href="{line["page"]}.html"' in entry
        assert "math notranslate" in entry
    for name in {line["test"].partition("::")[2] for line in TABLE}:
        assert name in re.sub(r"<[^>]+>", "", text)
