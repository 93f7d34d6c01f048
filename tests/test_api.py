"""The API pages: every example is run, every public name is there, and docstrings are shown as they were written."""

import doctest
import importlib
import inspect
import re
import sys
import zlib
from pathlib import Path

import docutils.core
import docutils.nodes
import pytest
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "book" / "api").glob("*.md"))
WITH_EXAMPLES = [page for page in PAGES if page.stem != "index"]
#: Every public name of these modules has to stand on an API page: all of the package but the renderer's insides.
MODULES = sorted(
    path.relative_to(ROOT / "handpose").with_suffix("").as_posix().replace("/", ".")
    for path in (ROOT / "handpose").rglob("*.py") if not path.stem.startswith("_") and "synthetic" not in path.parts
)  # fmt: skip
sys.path.insert(0, str(ROOT / "book" / "_ext"))


@pytest.mark.parametrize("page", WITH_EXAMPLES, ids=lambda page: page.stem)
def test_the_examples_print_what_they_say(page):
    """All examples of a page run one after the other, as a reader would type them."""
    blocks = re.findall(r"^```pycon\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    assert blocks, f"{page.name} has no example"
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    test = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, page.name, str(page), 0)
    report = []
    result = doctest.DocTestRunner(optionflags=flags).run(test, out=report.append)
    assert result.attempted > 3
    assert not result.failed, "".join(report)


def public(module):
    """Names of a module's own public functions and classes, or those that it says are its public ones."""
    names = getattr(module, "__all__", None)
    if names is not None:
        return [name for name in names if inspect.isroutine(getattr(module, name)) or inspect.isclass(getattr(module, name))]
    return [name for name, value in vars(module).items() if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__
            and (inspect.isroutine(value) or inspect.isclass(value))]  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_every_public_name_stands_on_a_page(name):
    """A module is shown with all its members; what a page leaves out there, another module of the pages shows."""
    text = "".join(page.read_text() for page in PAGES)
    found = re.search(rf"^\.\. automodule:: handpose\.{re.escape(name)}\n((?:   .*\n)*)", text, re.MULTILINE)
    assert found, f"no API page shows handpose.{name}"
    left_out = re.findall(r"\w+", (re.search(r":exclude-members:(.*)", found[1]) or ["", ""])[1])
    module = importlib.import_module(f"handpose.{name}")
    for member in public(module):
        assert inspect.getdoc(getattr(module, member)), f"handpose.{name}.{member} has no docstring, so no page shows it"
        if member in left_out:
            assert hasattr(importlib.import_module({"results": "handpose.runs", "predictor": "handpose"}[name]), member)


def test_every_public_name_can_be_looked_up_in_the_built_book(built):
    inventory = zlib.decompress((built / "objects.inv").read_bytes().split(b"zlib.\n", 1)[1]).decode()
    names = {line.split()[0] for line in inventory.splitlines() if " py:" in line}
    missing = []
    for name in MODULES:
        module = importlib.import_module(f"handpose.{name}")
        for member in public(module):
            owner = getattr(module, member).__module__
            if not {f"handpose.{name}.{member}", f"{owner}.{member}", f"handpose.{member}"} & names:
                missing.append(f"{name}.{member}")
    assert missing == []


@pytest.mark.parametrize("name", MODULES)
def test_docstrings_are_shown_as_they_were_written(name):
    """Nothing in a docstring is lost to reStructuredText, and nothing in it warns."""
    module = importlib.import_module(f"handpose.{name}")
    for member in public(module):
        doc = inspect.getdoc(getattr(module, member))
        assert shown(doc) == squeeze(doc.replace("``", "")), member


@given(st.text(st.sampled_from("ab_*|`\\ .:"), max_size=30))
def test_any_line_of_plain_text_is_shown_as_it_is(line):
    if "``" not in line and re.match(r"\w", line) and not line.rstrip().endswith(":"):
        assert shown(line) == squeeze(line)


def shown(text):
    from api import plain

    document = docutils.core.publish_doctree("\n".join(map(plain, text.splitlines())), settings_overrides={"report_level": 5})
    assert not list(document.findall(docutils.nodes.problematic)) and not list(document.findall(docutils.nodes.system_message)), text
    return squeeze(" ".join(node.astext() for node in document.findall(docutils.nodes.TextElement)
                            if not isinstance(node, docutils.nodes.Inline)))  # fmt: skip


def squeeze(text):
    return " ".join(text.replace("\0", "").split())
