"""Notebooks that open at another size than they are stored with: ``python -m handpose.binder quick notebooks``.

Binder's image is made with it (``postBuild``): whoever opens a notebook there wants a result, not a proof that it runs.
"""

import argparse
import re
import sys
from pathlib import Path

import nbformat

from .experiments import find_preset
from .records import atomic_path

_DEFAULT = re.compile(r'(?m)^preset: str = "smoke"(  #[^\n]*)?$')


def open_at(preset, notebook):
    """Make ``preset`` the default of the ``notebook`` (a path) where that is ``smoke``, and clear its outputs.

    A notebook with another default stays as it is. Says whether it changed. Raises ValueError for an unknown preset.
    """
    find_preset(preset)
    content = nbformat.read(notebook, 4)
    cells = [cell for cell in content.cells if "parameters" in cell.metadata.get("tags", []) and _DEFAULT.search(cell.source)]
    if not cells:
        return False
    cells[0].source = _DEFAULT.sub(f'preset: str = "{preset}"', cells[0].source)
    for cell in content.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    with atomic_path(notebook) as temporary:
        nbformat.write(content, temporary)
    return True


def main(arguments=None):
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m handpose.binder", description=__doc__.splitlines()[0])
    parser.add_argument("preset")
    parser.add_argument("folder", type=Path, help="folder of notebooks")
    options = parser.parse_args(arguments)
    try:
        notebooks = sorted(options.folder.glob("*.ipynb"))
        if not notebooks:
            raise ValueError(f"{options.folder} holds no notebooks")
        for notebook in notebooks:
            print(f"{notebook}: {f'opens at {options.preset}' if open_at(options.preset, notebook) else 'stays as it is'}")
    except ValueError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
