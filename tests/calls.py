"""A pytest plugin: which functions of the package each test called, as JSON in the file that ``CALLS`` names.

Functions are named "losses.kcs_loss", a method by its class, "stages.Align". Used by ``test_equations.py``.
"""

import json
import os
import sys
from pathlib import Path

import pytest

from handpose.records import PACKAGE

_CALLS = {}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Watch the functions that are entered while a test runs."""
    found = _CALLS.setdefault(item.nodeid.partition("[")[0], set())

    def watch(frame, event, _):
        path = frame.f_code.co_filename
        if event == "call" and path.startswith(str(PACKAGE)):
            module = Path(path).relative_to(PACKAGE).with_suffix("").as_posix().replace("/", ".")
            found.add(f"{module}.{frame.f_code.co_qualname.partition('.')[0]}")

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        return (yield)
    finally:
        sys.setprofile(before)


def pytest_sessionfinish():
    """Write down what was seen."""
    Path(os.environ["CALLS"]).write_text(json.dumps({test: sorted(names) for test, names in _CALLS.items()}))
