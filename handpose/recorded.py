"""The recorded run is whole and of one piece: its manifest, what must agree within it, and the exchange for a new one.

``manifest.json`` in ``book/runs`` holds the SHA-256 of every file beside it, so that one that was deleted, edited or
swapped is named before a page shows it. A new run takes the old one's place by renames alone; where a process ends
between two of them, the next one that opens the book goes on. One process at a time changes the recorded run, or looks whether
it is whole; another one waits.
"""

import contextlib
import hashlib
import os
import re
import shutil
from pathlib import Path
from typing import NamedTuple

from .records import PACKAGE, only_one, read_json, write_json

RUNS = PACKAGE.parent / "book" / "runs"
MANIFEST = "manifest.json"
_AGAIN = "put it back (git checkout -- book/runs), or record a run anew (make record, make pages)"


class Beside(NamedTuple):
    """A page of results that are recorded beside the book's own run: their dataset and preset, and the page's title."""

    dataset: str
    preset: str
    title: str


#: These pages by name; the book has them whatever run it shows.
BESIDE = {
    "results-stb": Beside("stb", "quick+weights=hands", "Results on STB's layout"),
    "results-quick": Beside("synthetic", "quick", "Results of the quick run"),
    "results-gpu": Beside("synthetic", "gpu", "Results at the paper's picture size"),
}
_ROUNDING = {"mepe": 0.03, "auc": 2e-3}  # what keeping poses in tenths of a millimetre may change
#: A page shows the identity of each run that it was made from, alone (``notebook.show_card``) or in a table (``show_run``).
_SHOWN = re.compile(r"identity ([0-9a-f]{16})\b|<td>([0-9a-f]{16})</td></tr>")


def digests(runs=RUNS):
    """SHA-256 of every file under ``runs`` but the manifest and hidden ones: {path from there: 64 hex digits}, sorted."""
    runs, found = Path(runs), {}
    for path in sorted(runs.rglob("*")):
        name = path.relative_to(runs)
        if path.is_file() and name.as_posix() != MANIFEST and not any(part.startswith(".") for part in name.parts):
            found[name.as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def write_manifest(runs=RUNS):
    """Write ``manifest.json`` for the files that are there now."""
    write_json(Path(runs) / MANIFEST, digests(runs))


def changed(runs=RUNS):
    """The files that are not as the manifest says, a line each that names one; empty when all are."""
    path = Path(runs) / MANIFEST
    if not path.exists():
        return [f"{path} is missing: {_AGAIN}"]
    try:
        wanted = read_json(path)
    except ValueError as error:
        return [f"{error}: {_AGAIN}"]
    if not isinstance(wanted, dict):
        return [f"{path} is no list of files: {_AGAIN}"]
    found = digests(runs)
    lines = [f"{path.parent / name} is missing: {_AGAIN}" for name in wanted if name not in found]
    lines += [f"{path.parent / name} is not in {MANIFEST}: {_AGAIN}" for name in found if name not in wanted]
    edited = [name for name in found if wanted.get(name, found[name]) != found[name]]
    return lines + [f"{path.parent / name} has changed since it was recorded: {_AGAIN}" for name in edited]


def disagreeing(runs=RUNS):
    """What contradicts itself in a recorded run, a line each: whoever writes a manifest asks this first. Empty for a sound one.

    A card stands in the folder of its row, seed, dataset and preset; its metrics are those of the predictions beside it, its
    seconds those of the history; a page was made from its own notebook and row, and from runs that are recorded.
    """
    runs = Path(runs)
    lines, cards = [], []
    for path in sorted(runs.glob("results/*/*/run.json")):
        card = read_json(path)
        cards.append(card)
        lines += [f"{path.parent.relative_to(runs)}: {line}" for line in _of_result(path.parent, card)]
    known = {stage["identity"] for card in cards for stage in card["stages"].values()}
    for page in sorted(runs.glob("*.ipynb")):
        lines += [f"{page.name}: {line}" for line in _of_page(page, known)]
    return lines


def _of_result(folder, card):
    from .experiments import find_row
    from .results import Result

    lines, result = [], Result(folder)
    place = f"{card['dataset']}-{card['preset']}/{card['row']}-seed{card['seed']}"
    plain = folder.parent.name.partition("+")[0]  # the run of a row that a variant's change leaves as it is
    if place not in (f"{folder.parent.name}/{folder.name}", f"{plain}/{folder.name}"):
        lines.append(f"its card is that of {place}")
    if card["row"] != "warmup" and card["stage"] != find_row(card["row"]).stages[-1]:
        lines.append(f"its card is of stage {card['stage']}, which is not the row's last")
    measured = _measured(folder, result)
    for name, value in measured.items():
        if not abs(card["metrics"][name] - value) <= _ROUNDING[name]:  # NaN too
            lines.append(f"its card says {name} {card['metrics'][name]:.3f}, its predictions give {value:.3f}")
    for stage, kept in card["stages"].items():
        seconds = round(sum(epoch["seconds"] for epoch in result.history if epoch["stage"] == stage), 1)
        if abs(seconds - kept["seconds"]) > 0.051:
            lines.append(f"its card says {kept['seconds']} s of stage {stage}, its history {seconds}")
    return lines


def _measured(folder, result):
    """MEPE and AUC of the predictions kept, which are rounded to a tenth of a millimetre."""
    from . import metrics
    from .results import Results

    results = Results(folder.parent)
    if len(result.predicted) != len(results.target):
        return {"mepe": float("nan")}
    pair = result.predicted, results.target
    return {"mepe": metrics.mepe(*pair, root=results.root_joint), "auc": metrics.auc(*pair, root=results.root_joint)}


def _of_page(page, known):
    import nbformat

    notebook = nbformat.read(page, 4)
    made = notebook.metadata.get("handpose") or {"notebook": "", "parameters": {}}
    name, given = made["notebook"].removesuffix(".ipynb"), made.get("parameters", {})
    row, beside = given.get("row", ""), BESIDE.get(page.stem)
    wanted = f"row-{row}" if name == "row" else name
    if beside and name == "results" and (given.get("dataset"), given.get("preset")) == beside[:2]:
        wanted = page.stem
    if page.stem != wanted:
        yield f"it was made from {made['notebook'] or 'no notebook'}" + f", row {row}" * bool(row)
    if name == "change_row":  # shows runs of its own size, which come with the repository or are trained on the spot
        return
    text = "".join(str(output.get("data", {}).get("text/html", "")) for cell in notebook.cells for output in cell.get("outputs", ()))
    for identity in sorted({one or other for one, other in _SHOWN.findall(text)} - known):
        yield f"it shows a run, {identity}, that is not recorded"


def check(runs=RUNS):
    """Raise ValueError, in one line, when the manifest is missing or names another content than the files have."""
    with settled(runs):
        lines = changed(runs)
    if lines:
        more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
        raise ValueError(lines[0] + more)


def seal(runs=RUNS):
    """Write the manifest of a run whose parts agree. Raises ValueError, in one line, when they do not."""
    lines = disagreeing(runs)
    if lines:
        more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
        raise ValueError(f"{runs} is of more than one piece: {lines[0]}{more}")
    write_manifest(runs)


@contextlib.contextmanager
def settled(place=RUNS):
    """While the block runs no other process changes the recorded run ``place``; an exchange that was ended in the middle is done first.

    Not for use within itself, nor are ``replaced`` and ``check`` of the same place: they would wait for ever.
    """
    with only_one(place, place) as may_write:
        if may_write:
            _settle(Path(place))
        yield


@contextlib.contextmanager
def replaced(place=RUNS):
    """Yield where to make the folder that becomes the recorded run ``place`` when the block ends well, sealed (``seal``).

    Other processes wait as with ``settled``. Where the block or the seal fails, the old run stays.
    """
    place = Path(place)
    fresh = place.with_name(f".{place.name}.new")
    with settled(place):
        shutil.rmtree(fresh, ignore_errors=True)  # of one that was not finished
        yield fresh
        seal(fresh)
        _exchange(fresh, place)


def _exchange(fresh, place):
    """Put the finished folder ``fresh``, beside ``place``, in its place. An end in the middle is mended by ``settled``."""
    os.rename(fresh, _ready(place))  # from here on the new one counts
    _settle(place)


def _settle(place):
    ready, old = _ready(place), place.with_name(f".{place.name}.old")
    if ready.exists():
        if place.exists():
            shutil.rmtree(old, ignore_errors=True)
            os.rename(place, old)
        os.rename(ready, place)
    shutil.rmtree(old, ignore_errors=True)


def _ready(place):
    return place.with_name(f".{place.name}.ready")
