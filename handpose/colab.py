"""The first code cell of every notebook, and what it calls on Google Colab.

The cell's text stands here alone. ``python -m handpose.colab`` writes it into all notebooks: into new ones as their
first code cell. It is small because it can't import this package before it has fetched it; all else is ``set_up``,
which needs nothing but Python's own library, and ``packaging``.
"""

import argparse
import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from importlib import metadata
from pathlib import Path

from .records import PACKAGE, atomic_path

ROOT = PACKAGE.parent
#: Colab's own builds, fitted to its driver and to each other. Whatever happens, they stay.
KEPT = ("torch", "torchvision", "numpy", "scipy")
_FIRST = "# On Google Colab: fetches the code of this book, at the version of this page, and installs what Colab lacks."
_CELL = f'''{_FIRST}
# Anywhere else it does nothing. To keep what you train when the runtime ends, connect your Drive before you go on:
# folder icon at the left, then the icon with the Drive.
import os
import subprocess
import sys

if "COLAB_NOTEBOOK_ID" in os.environ or "google.colab" in sys.modules:
    _address, _version = "ADDRESS", "VERSION"
    if not _address:
        raise RuntimeError("this copy does not know its repository: write its https address between the first quotes above")
    _code = os.path.abspath("handpose-book")
    subprocess.run(["git", "init", "--quiet", _code], check=True)
    for _wanted in dict.fromkeys((_version, "main")):
        if subprocess.run(["git", "-C", _code, "fetch", "--quiet", "--depth=1", _address, _wanted]).returncode == 0:
            break
        print(f"{{_wanted}} can't be had from {{_address}}")
    subprocess.run(["git", "-C", _code, "checkout", "--quiet", "FETCH_HEAD"], check=True)
    sys.path.insert(0, _code)
    from handpose.colab import set_up

    set_up()'''
_PLACE = re.compile(r'_address, _version = "([^"\n]*)", "([^"\n]*)"')
_TAGS = ["remove-cell"]  # from the book's page; it stays in the page's notebook


def on_colab():
    """Whether this process runs on Google Colab."""
    return "COLAB_NOTEBOOK_ID" in os.environ or "google.colab" in sys.modules


def cell(address="", version="main"):
    """Source of the cell: fetches ``version``, a commit or a branch, from the repository at ``address``."""
    return _CELL.replace("ADDRESS", address).replace("VERSION", version)


def is_cell(source):
    """Whether ``source`` is a notebook's Colab cell, of whatever address and version."""
    return source.startswith(_FIRST)


def at_version(source, version):
    """The cell ``source`` with another version to fetch, the same address."""
    return _PLACE.sub(lambda found: f'_address, _version = "{found[1]}", "{version}"', source)


def set_up(root=ROOT):
    """Install what the code in the checkout ``root`` asks for and this environment lacks; nothing that is there changes.

    Says what it installed and what was there too old. Raises RuntimeError when pip can't, or when one of ``KEPT`` changed.
    """
    before = {name: _version(name) for name in KEPT}
    missing, old = lacking(root)
    if missing:
        _install(missing)
    changed = [name for name in KEPT if before[name] not in (None, _version(name))]
    if changed:
        raise RuntimeError(f"{', '.join(changed)} changed under pip's hands: restart the runtime (Runtime > Disconnect and delete)")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    commit = subprocess.run(["git", "-C", str(root), "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True).stdout.strip()
    installed = ", ".join(f"{name} {_version(name)}" for name in map(_name, missing)) or "nothing"
    print(f"code of this book: commit {commit}; installed: {installed}")
    print("as Colab has them: " + ", ".join(f"{name} {version}" for name, version in before.items() if version))
    for requirement, version in old:
        print(f"{requirement} is asked for, this runtime has {version}: choose a newer one (Runtime > Change runtime type)")


def lacking(root=ROOT):
    """Requirements of the checkout ``root`` that are not installed, and [(requirement, version)] of those that are too old."""
    from packaging.requirements import Requirement

    missing, old = [], []
    for requirement in tomllib.loads((Path(root) / "pyproject.toml").read_text())["project"]["dependencies"]:
        version = _version(_name(requirement))
        if version is None:
            missing.append(requirement)
        elif not Requirement(requirement).specifier.contains(version, prereleases=True):
            old.append((requirement, version))
    return missing, old


def _install(requirements):
    """Install with pip; every package that is there is a constraint, so that none is replaced."""
    there = {distribution.name: distribution.version for distribution in metadata.distributions() if distribution.name}
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder) / "constraints.txt"
        constraints.write_text("".join(f"{name}=={version}\n" for name, version in there.items()))
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--root-user-action=ignore"]
        done = subprocess.run([*command, "--constraint", str(constraints), *requirements], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"pip could not install {', '.join(requirements)}: {done.stderr.strip()[-500:]}")
    importlib.invalidate_caches()


def _name(requirement):
    return re.match(r"[A-Za-z0-9._-]+", requirement)[0]  # type: ignore[index]


def _version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def write_cells(address, root=ROOT):
    """New text of each notebook below ``root`` whose Colab cell is missing or another: {path: text}; writes nothing.

    The source notebooks fetch ``main``; the executed pages in ``book/runs``, which have the cell already or stay
    without, keep the commit that they were made with.
    """
    texts = {}
    for path in sorted((Path(root) / "notebooks").glob("*.py")):
        texts[path] = _in_text(path.read_text(), cell(address))
    for path in sorted((Path(root) / "notebooks").glob("*.ipynb")):
        texts[path] = _in_notebook(path.read_text(), address, insert=True)
    for path in sorted((Path(root) / "book" / "runs").glob("*.ipynb")):
        texts[path] = _in_notebook(path.read_text(), address, insert=False)
    return {path: text for path, text in texts.items() if text != path.read_text()}


def _in_text(text, source):
    """A py:percent notebook with the cell after its title."""
    parts = re.split(r"(?m)^(?=# %%)", text)  # the header, then a part a cell
    header = f"# %% tags={json.dumps(_TAGS)}\n"
    parts = [part for part in parts if not is_cell(part.partition("\n")[2])]
    return "".join([*parts[:2], header + source + "\n\n", *parts[2:]])


def _in_notebook(text, address, insert):
    """The same for an .ipynb file, whose layout stays as Jupyter writes it."""
    notebook = json.loads(text)
    found = [one for one in notebook["cells"] if one["cell_type"] == "code" and is_cell("".join(one["source"]))]
    if not found and insert:
        found = [{"cell_type": "code", "execution_count": None, "id": "on-colab", "metadata": {"tags": _TAGS}, "outputs": [], "source": []}]
        notebook["cells"][1:1] = found
    for one in found:
        version = "main" if insert else _PLACE.search("".join(one["source"]))[2]  # type: ignore[index]
        one["source"], one["metadata"]["tags"] = cell(address, version).splitlines(keepends=True), _TAGS
    return json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n" if found else text


def main(arguments=None):
    """Command line: write the cell, with the address in ``_config.yml``, into all notebooks."""
    from .address import read_address

    argparse.ArgumentParser(prog="python -m handpose.colab", description=main.__doc__).parse_args(arguments)
    for path, text in write_cells(read_address()).items():
        with atomic_path(path) as temporary:
            temporary.write_text(text)
        print(f"written: {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
