"""Build the book around the pages of one run: ``python -m handpose.book PAGES``.

The sources at the checkout's root make the book of the recorded run (``jupyter-book build .``). Here a
copy is made in which ``book/runs`` holds the pages of the run just finished, so that a fresh run never
changes a recorded one; the same sources, the same table of contents.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from .records import PACKAGE, atomic_path, read_json

ROOT = PACKAGE.parent
_UNFINISHED = shutil.ignore_patterns("failed-*", ".*")


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
    for path in (site / "book", site / "handpose"):
        shutil.rmtree(path, ignore_errors=True)
    site.mkdir(parents=True, exist_ok=True)
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy2(ROOT / name, site / name)
    shutil.copytree(ROOT / "book", site / "book", ignore=shutil.ignore_patterns("runs"))
    shutil.copytree(PACKAGE, site / "handpose", ignore=shutil.ignore_patterns("__pycache__"))  # shown from source
    shutil.copytree(pages, site / "book" / "runs", ignore=_UNFINISHED)


def build(pages):
    """Stage and build into ``_build/html``; warnings are errors. Every page is read anew: another run's may be there."""
    site = ROOT / "_build" / "site"
    stage(pages, site)
    command = [Path(sys.executable).with_name("jupyter-book"), "build", site, "--path-output", ROOT]
    subprocess.run([*map(str, command), "--all", "-W", "--keep-going", "--quiet"], check=True)
    (ROOT / "_build" / "html" / f".run-{Path(pages).name}").touch()  # gone when another book is built there
    print("the book: _build/html/index.html")


def record(pages):
    """Make the pages of a run, and the run cards of its rows, the recorded run in ``book/runs``."""
    pages, runs = Path(pages), ROOT / "book" / "runs"
    check(pages)
    cards = [card for card in sorted((ROOT / "runs" / "rows").glob("*/run.json")) if _pages_of(read_json(card)) == pages.name]
    fresh = runs.with_name("runs.new")
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(pages, fresh, ignore=_UNFINISHED)
    for card in cards:
        (fresh / card.parent.name).mkdir()
        shutil.copy2(card, fresh / card.parent.name / card.name)
    picture(ROOT / "book" / "_static" / "hands.jpg")
    shutil.rmtree(runs, ignore_errors=True)
    os.rename(fresh, runs)


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


def _pages_of(card):
    return f"{card['dataset']}-{card['preset']}-seed{card['seed']}"


def main(arguments=None):
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m handpose.book", description=__doc__.splitlines()[0])
    parser.add_argument("pages", help="folder of executed notebooks")
    parser.add_argument("--record", action="store_true", help="make them the recorded run instead of building")
    options = parser.parse_args(arguments)
    try:
        (record if options.record else build)(options.pages)
    except FileNotFoundError as error:
        sys.exit(f"error: {error}")
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)


if __name__ == "__main__":
    main()
