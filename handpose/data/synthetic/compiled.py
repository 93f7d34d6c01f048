"""The renderer's compiled code, made at set-up: ``python -m handpose.data.synthetic.compiled``.

Numba compiles a function when it is first called and keeps the result beside its source. Whoever draws the first hands would
wait for it.
"""

import tempfile
from pathlib import Path

from .write import write_synthetic


def main():
    """Draw one hand, away from everything: all of the renderer is compiled then."""
    with tempfile.TemporaryDirectory() as folder:
        write_synthetic(Path(folder) / "hands", training=1, size=64, workers=1)


if __name__ == "__main__":
    main()
