"""Build the book around the pages of one run: ``python -m handpose.book PAGES``.

The sources at the checkout's root make the book of the recorded run (``jupyter-book build .``). Here a
copy is made in which ``book/runs`` holds the pages of the run just finished, so that a fresh run never
changes a recorded one; the same sources, the same table of contents.
"""

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

from . import recorded
from .records import PACKAGE, atomic_path, read_json
from .results import Result, labels_of, same_labels
from .trouble import line_of

ROOT = PACKAGE.parent
_UNFINISHED = shutil.ignore_patterns("failed-*", ".*")
_PAGES = shutil.ignore_patterns("failed-*", ".*", "stages")
_VARIANT = shutil.ignore_patterns(".*", "analysis.npz", "explorer.npz")  # of a changed setting only the error is shown
_SEEDS = re.compile(r"-seed\d+(to\d+)?(-recorded)?$")  # what the name of a folder of pages has after dataset and preset


def check(pages):
    """Raise FileNotFoundError, naming it, when a page of the table of contents is not in the folder ``pages``."""
    for line in (ROOT / "_toc.yml").read_text().splitlines():
        name = line.split("file:")[-1].strip()
        if "runs/" in name and not (Path(pages) / f"{Path(name).name}.ipynb").exists():
            raise FileNotFoundError(f"{pages} has no page {Path(name).name}: run `make book` to the end")


def stage(pages, site):
    """Copy the book's sources to the folder ``site``, with the executed notebooks of ``pages`` as ``book/runs``.

    Raises FileNotFoundError as ``check`` does.
    """
    check(pages)
    site = Path(site)
    for path in (site / "book", site / "handpose", site / "notebooks", site / "tests"):
        shutil.rmtree(path, ignore_errors=True)
    site.mkdir(parents=True, exist_ok=True)
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy2(ROOT / name, site / name)
    shutil.copytree(ROOT / "book", site / "book", ignore=shutil.ignore_patterns("runs", ".*"))
    shutil.copytree(PACKAGE, site / "handpose", ignore=shutil.ignore_patterns("__pycache__"))  # shown from source
    shutil.copytree(ROOT / "tests", site / "tests", ignore=shutil.ignore_patterns("__pycache__"))  # the equation index shows them
    shutil.copytree(ROOT / "notebooks", site / "notebooks", ignore=shutil.ignore_patterns(".*"))  # to see what is stale
    shutil.copytree(pages, site / "book" / "runs", ignore=_PAGES)
    recorded.write_manifest(site / "book" / "runs")


def build(pages):
    """Stage and build into ``_build/html``; warnings are errors. Every page is read anew: another run's may be there."""
    site = ROOT / "_build" / "site"
    stage(pages, site)
    command = [Path(sys.executable).with_name("jupyter-book"), "build", site, "--path-output", ROOT]
    subprocess.run([*map(str, command), "--all", "-W", "--keep-going", "--quiet"], check=True)
    (ROOT / "_build" / "html" / f".run-{Path(pages).name}").touch()  # gone when another book is built there
    print("the book: _build/html/index.html")


def record(pages, with_pictures=False):
    """Make the pages of a run, and the results that they show, the recorded run in ``book/runs``.

    These are the results of its dataset and preset, changed settings and all, and of its variants (``decisions``). Pages that were
    made from the recorded results leave these as they are, and results beside them (``record_beside``) stay. Raises
    FileNotFoundError as ``check`` does and when the run has no results, ValueError when pages and results don't belong together;
    the old recorded run then stays, as it does when this is ended before it is done. ValueError, too, for a run on a dataset's own
    frames, whose pictures stand on the pages, unless ``with_pictures``.
    """
    pages, runs = Path(pages), ROOT / "book" / "runs"
    name, made = _SEEDS.sub("", pages.name), []
    with recorded.replaced(runs) as fresh:
        check(pages)
        if not pages.name.endswith("-recorded"):
            _labels(ROOT / "runs" / "results" / name)  # says so where there are none
            made = _results(ROOT / "runs", name)
            if not with_pictures:
                _refuse_pictures(made)
        older = {folder.name for folder in _results(runs, name) if made} - _shown_beside()
        older |= {folder.name for folder in made}
        shutil.copytree(pages, fresh, ignore=_PAGES)
        for folder in _results(runs):
            if folder.name not in older:
                shutil.copytree(folder, fresh / "results" / folder.name, ignore=_UNFINISHED)
        for folder in made:
            target = fresh / "results" / folder.name
            shutil.copytree(folder, target, ignore=_UNFINISHED if folder.name == name else _VARIANT)
            _bring_labels(_labels(folder), target)
        picture(ROOT / "book" / "_static" / "hands.jpg")


def _refuse_pictures(folders):
    from .data.doctor import SOURCES

    for card in (read_json(path) for folder in folders for path in sorted(folder.glob("*/run.json"))):
        if not card["rendered"]:
            raise ValueError(
                f"pages and results of {card['dataset']} hold pictures of the dataset, whose licence is: {SOURCES[card['dataset']].licence}. "
                "For a copy that stays with you: --with-pictures, or make record WITH_PICTURES=yes"
            )


def _results(folder, name=None):
    """Folders of results under ``folder``: all, or those of one dataset and preset, with further changed settings too."""
    found = sorted(path.parent for path in (folder / "results").glob("*/frames.npz"))
    found += sorted({card.parents[1] for card in (folder / "results").glob("*+*/*/run.json")} - set(found))
    return [path for path in found if name is None or f"{path.name}+".startswith(f"{name}+")]


def _labels(source):
    """Where the labels of the results in the folder ``source`` lie. Raises FileNotFoundError when there are no results."""
    labels = next((path for path in (source / "frames.npz", labels_of(source)) if path.exists()), None)
    if labels is None or not source.is_dir():
        raise FileNotFoundError(f"{source} holds no results: run `make book` with that dataset and preset first")
    return labels


def _bring_labels(labels, target):
    """Put the labels beside the results in ``target``, unless they have theirs or can share the plain preset's."""
    shared = labels_of(target)
    if not (target / "frames.npz").exists() and not (shared.exists() and same_labels(labels, shared)):
        shutil.copy2(labels, target / "frames.npz")


def _shown_beside():
    """Names of the folders of results that pages of every run show."""
    return {f"{page.dataset}-{page.preset}" for page in recorded.BESIDE.values()}


def record_beside(name, with_pictures=False):
    """Put the results ``name`` ("stb-quick") of runs on this machine beside the recorded run, for pages that show both.

    Where results of that name are recorded already, rows are added to them or take the place of older ones; their labels stay.
    Raises FileNotFoundError when there are none, ValueError when the recorded ones are on other frames, and as ``record`` does.
    """
    source, runs = ROOT / "runs" / "results" / name, ROOT / "book" / "runs"
    with recorded.replaced(runs) as fresh:
        labels, kept = _labels(source), runs / "results" / name
        if not with_pictures:
            _refuse_pictures([source])
        if (kept / "frames.npz").exists() and not same_labels(labels, kept / "frames.npz"):
            raise ValueError(f"{kept} holds results on other frames than {source}: remove it first")
        shutil.copytree(runs, fresh)
        target = fresh / "results" / name
        target.mkdir(parents=True, exist_ok=True)
        alone = "+" in name or name in _shown_beside()  # on one page, which asks for no analysis
        for row in sorted(card.parent for card in source.glob("*/run.json")):
            shutil.rmtree(target / row.name, ignore_errors=True)
            shutil.copytree(row, target / row.name, ignore=_VARIANT if alone else _UNFINISHED)
        if not (target / "frames.npz").exists():
            shutil.copy2(labels, target)


def stale(runs=ROOT / "book" / "runs"):
    """What in the recorded run is older than what made it: {page or result: why}. Empty when all of it is current."""
    from .notebook import stale_page

    found = {path.name: stale_page(path) for path in sorted(Path(runs).glob("*.ipynb"))}
    for card in sorted(Path(runs).glob("results/*/*/run.json")):
        found[str(card.parent.relative_to(runs))] = Result(card.parent).stale
    return {name: why for name, why in found.items() if why}


def picture(path, count=12, size=256):
    """Write the contact sheet of the README and the landing page: synthetic hands, every other with its joints."""
    from .data.synthetic import draw_frame, label, render
    from .figures import draw_skeleton, frame_grid

    images, joints = [], []
    for index in range(count):
        frame = draw_frame(0, "training", index, size)
        colour, mask, depth = render(frame)
        images.append(colour)
        joints.append(label(frame, mask, depth)[1])
    figure = frame_grid(images, columns=6, width=12)
    for axes, uv in list(zip(figure.axes, joints))[1::2]:
        draw_skeleton(axes, uv - 0.5)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=100, pil_kwargs={"quality": 88})


def main(arguments=None):
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m handpose.book", description=__doc__.splitlines()[0])
    parser.add_argument("pages", nargs="?", help="folder of executed notebooks; with --beside DATASET-PRESET")
    todo = parser.add_mutually_exclusive_group()
    todo.add_argument("--record", action="store_true", help="make them the recorded run instead of building")
    parser.add_argument("--with-pictures", action="store_true", help="record a run on a dataset's own frames, its pictures too")
    todo.add_argument("--beside", action="store_true", help="record the results of another dataset beside the recorded run")
    todo.add_argument("--manifest", action="store_true", help="write the recorded run's manifest anew, when its parts agree; no PAGES")
    options = parser.parse_args(arguments)
    if bool(options.pages) == options.manifest:
        parser.error("give PAGES, or --manifest alone")
    if options.with_pictures and not (options.record or options.beside):
        parser.error("--with-pictures goes with --record or --beside")
    try:
        if options.manifest:
            with recorded.settled():
                recorded.seal()
        else:
            given = {"with_pictures": True} if options.with_pictures else {}
            (record_beside if options.beside else record if options.record else build)(options.pages, **given)
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
    except OSError as error:
        sys.exit(f"error: {line_of(error, 'the book is made') or error}")


if __name__ == "__main__":
    main()
