"""Benchmarks: ratios measured in one run.

``make bench`` prints them and keeps them in ``book/checks/bench.json``, and a GPU's, where there is one, in ``bench-gpu.json``.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One figure: what was measured, the number in words, and, where the project has a bar for it, the bar and whether it holds."""

    topic: str
    what: str
    value: str
    bar: str = ""
    holds: bool | None = None

    def __str__(self):
        verdict = "" if self.holds is None else f"  [{self.bar}: {'holds' if self.holds else 'MISSED'}]"
        return f"{self.topic}: {self.what}: {self.value}{verdict}"


def least(repeats, *calls):
    """The least of the seconds that each call returns, taken in turns, so that what else runs hits all alike: a list."""
    found = [call() for call in calls]  # the first is slower
    for _ in range(repeats):
        found = [min(best, call()) for best, call in zip(found, calls)]
    return found
