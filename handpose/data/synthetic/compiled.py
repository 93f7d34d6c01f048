"""The compiled code of the renderer and of the warp, made at set-up: ``python -m handpose.data.synthetic.compiled``.

Numba compiles a function when it is first called and keeps the result beside its source. Whoever draws or trains on the
first hands would wait for it.
"""

import argparse
import tempfile
from pathlib import Path

import torch

from ..augment import warp
from .write import write_synthetic


def main(arguments=None):
    """Command line: draw one hand, away from everything, and warp a picture: all is compiled then."""
    argparse.ArgumentParser(prog="python -m handpose.data.synthetic.compiled", description=main.__doc__).parse_args(arguments)
    warp(torch.zeros(1, 2, 2, 3, dtype=torch.uint8), torch.zeros(1, 21, 3), 2)
    with tempfile.TemporaryDirectory() as folder:
        write_synthetic(Path(folder) / "hands", training=1, size=64, workers=1)


if __name__ == "__main__":
    main()
