"""What a release keeps for good: the book, the recorded run and the pinned environment, each one archive.

``python -m handpose.archive`` writes them to ``_build/release``, with their SHA-256 sums. The same content gives the same
bytes. ``zenodo`` is the description that Zenodo reads, made of ``CITATION.cff``; ``--metadata`` writes it to ``.zenodo.json``.
"""

import argparse
import hashlib
import json
import platform
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import yaml

from . import __version__
from .records import PACKAGE, atomic_path

ROOT = PACKAGE.parent
_ENVIRONMENT = ("requirements.txt", "requirements-conda.txt", "environment.yml", "pyproject.toml")
_EPOCH = (1980, 1, 1, 0, 0, 0)  # a zip's first day: archives of the same content are the same file


def check_tag(tag):
    """Raises ValueError when a release's ``tag`` is not the version of the package, "v0.1.0" say."""
    if tag != f"v{__version__}":
        raise ValueError(f"tag {tag} is not v{__version__}: set version in pyproject.toml and handpose/__init__.py, then tag")


def environment_lines():
    """Python, platform and every installed package with its version, as lines."""
    installed = sorted({f"{one.name}=={one.version}" for one in metadata.distributions() if one.name}, key=str.lower)
    return [f"# Python {platform.python_version()}, {platform.system()} {platform.machine()}", *installed]


def write_zip(path, files):
    """Write ``files``, {name in the archive: path or text}, to the zip ``path``, sorted, without times."""
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name in sorted(files):
            content = files[name] if isinstance(files[name], str) else Path(files[name]).read_bytes()
            info = zipfile.ZipInfo(name, _EPOCH)
            info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(info, content)


def archive(folder, root=ROOT):
    """Write the three archives, ``zenodo.json`` and ``SHA256SUMS`` of the checkout ``root`` into ``folder``; their paths.

    Raises FileNotFoundError when the book has not been built, ValueError when it is that of another run or was not built to its end.
    """
    book, run = root / "_build" / "html", root / "book" / "runs"
    check_book(book)
    environment = {name: root / name for name in _ENVIRONMENT} | {"packages.txt": "\n".join(environment_lines()) + "\n"}
    contents = {"book": _files(book), "recorded-run": _files(run), "environment": environment}
    folder = Path(folder)
    written = []
    for name, files in contents.items():
        written.append(folder / f"handpose-{name}-{__version__}.zip")
        write_zip(written[-1], files)
    written.append(folder / "zenodo.json")
    with atomic_path(written[-1]) as temporary:
        temporary.write_text(zenodo_text(root))
    sums = "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in written)
    written.append(folder / "SHA256SUMS")
    with atomic_path(written[-1]) as temporary:
        temporary.write_text(sums)
    return written


def check_book(book):
    """Raise FileNotFoundError or ValueError, as ``archive`` does, when the folder ``book`` is not the whole book of the recorded run."""
    if not (book / "index.html").exists():
        raise FileNotFoundError("no book in _build/html: run `make site` first")
    if (book / ".unfinished").exists():
        raise ValueError("the book in _build/html was not built to its end: run `make site` first")
    marker = next(book.glob(".run-*"), None)
    if marker:
        raise ValueError(f"the book in _build/html is that of the run {marker.name[5:]}, not the recorded one: run `make site` first")


def _files(folder):
    return {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}


def zenodo(citation):
    """Zenodo's description of a release from the content of ``CITATION.cff``, both as dicts.

    The address of the repository is left out: Zenodo adds the release that it archives.
    """
    return {
        "upload_type": "software",
        "title": citation["title"],
        "description": f"<p>{citation['abstract']}</p>",
        "creators": [{"name": _name(author)} for author in citation["authors"]],
        "license": citation["license"],
        "access_right": "open",
        "language": "eng",
        "keywords": citation["keywords"],
        "references": [_reference(one) for one in citation["references"]],
    }


def _name(person):
    return person["name"] if "name" in person else f"{person['family-names']}, {person['given-names']}"


def _reference(work):
    people = "; ".join(map(_name, work["authors"]))
    return f"{people} ({work['year']}). {work['title']}. {work['conference']['name']}."


def bibtex(citation):
    """BibTeX of this book from the content of ``CITATION.cff``, a dict; with the repository's address where one is known."""
    authors = (_name(author) if "family-names" in author else f"{{{_name(author)}}}" for author in citation["authors"])
    fields = {"author": " and ".join(authors), "title": f"{{{citation['title']}}}"}
    fields |= {"note": "Jupyter book and code"} | ({"url": citation["repository-code"]} if "repository-code" in citation else {})
    return "@misc{handpose-companion,\n" + ",\n".join(f"  {name:6} = {{{value}}}" for name, value in fields.items()) + "\n}"


def zenodo_text(root=ROOT):
    """The text of ``.zenodo.json`` of the checkout ``root``."""
    return json.dumps(zenodo(yaml.safe_load((root / "CITATION.cff").read_text())), indent=2, ensure_ascii=False) + "\n"


def main(arguments=None):
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m handpose.archive", description=__doc__.splitlines()[0])
    parser.add_argument("--tag", help="the release's tag; must be the package's version")
    parser.add_argument("--metadata", action="store_true", help="only write .zenodo.json from CITATION.cff")
    parser.add_argument("--bibtex", action="store_true", help="only print how to cite the book")
    options = parser.parse_args(arguments)
    if options.bibtex:
        return print(bibtex(yaml.safe_load((ROOT / "CITATION.cff").read_text())))
    try:
        if options.metadata:
            with atomic_path(ROOT / ".zenodo.json") as temporary:
                temporary.write_text(zenodo_text())
            print("written: .zenodo.json")
            return
        if options.tag:
            check_tag(options.tag)
        for path in archive(ROOT / "_build" / "release"):
            print(f"{path.stat().st_size / 1e6:8.2f} MB  {path.relative_to(ROOT)}")
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
