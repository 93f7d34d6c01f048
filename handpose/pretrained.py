"""Where the backbone starts (section 4.2): ImageNet's weights, a file of one's own, the warm-up, or nothing.

``python -m handpose.pretrained FILE`` takes a ResNet-18 file in, where torchvision can't fetch one itself.
"""

import argparse
import hashlib
import pickle
import re
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from .models import resnet
from .records import PACKAGE, atomic_path

#: What ``Preset.weights`` may say beside the name of a file that was taken in.
IMAGENET, WARMUP = "imagenet", "warmup"
WARMED_UP = "a warm-up on the training pictures"
_BACKBONE = "rgb_encoder.backbone."


def folder_of(output_dir="runs"):
    """Where the files taken in lie."""
    return Path(output_dir) / "weights"


def find(weights, output_dir="runs"):
    """What ``stages.make_networks`` wants for a preset's ``weights``, and what the run card says of it.

    Returns (weights, description): "imagenet", None and "warmup" stay, the name of a file taken in becomes its path.
    Raises ValueError, with what to do, where ImageNet's weights can't be had and for a name that was not taken in.
    """
    if weights is None:
        return None, "from scratch"
    if weights == WARMUP:
        return weights, WARMED_UP
    if weights == IMAGENET:
        from torchvision.models import ResNet18_Weights

        try:
            ResNet18_Weights.IMAGENET1K_V1.get_state_dict(progress=False, check_hash=True)
        except Exception as error:  # no network, no room, a broken download: the advice is the same
            raise ValueError(f"ImageNet's weights can't be fetched ({type(error).__name__}: {_line(error)}). {_advice()}") from None
        return weights, f"ImageNet (torchvision's {_official()})"
    path = folder_of(output_dir) / f"{weights}.safetensors"
    if not path.exists():
        raise ValueError(f"there is no {path}. {_advice()}")
    return path, f"file {weights}, SHA-256 {content_digest(weights, output_dir)}"


def content_digest(weights, output_dir="runs"):
    """First 16 hex digits of the SHA-256 of a file taken in; None for weights that are no file."""
    path = folder_of(output_dir) / f"{weights}.safetensors"
    if weights in (None, IMAGENET, WARMUP) or not path.exists():
        return None
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def take_in(file, output_dir="runs", name=None):
    """Check a ResNet-18 ``.pth`` or ``.safetensors`` file and keep it for runs under ``output_dir``; returns its name.

    The networks of a finished stage of ours will do too, or the ``run.json`` of a stage or result that names them: their
    backbone is taken. ``name`` is the file's own unless given (a card's: its folder's). Raises FileNotFoundError, and
    ValueError in one line, for a file that is missing or no ResNet-18's weights. Nothing in a ``.pth`` is run: only tensors
    are read.
    """
    file = Path(file)
    if file.name == "run.json":
        from .runs import open_run

        name, file = name or file.absolute().parent.name, open_run(file).folder / "networks.safetensors"
    name = re.sub(r"[^A-Za-z0-9.-]+", "-", name or file.stem).lstrip(".-")
    if name in ("", "none", IMAGENET, WARMUP):
        raise ValueError(f"a file can't be called {name!r}: give another name")
    if file.is_dir():
        raise FileNotFoundError(f"{file} is a folder: give a file in it")
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing: give the file of a ResNet-18, torchvision's {_official()} for ImageNet's weights")
    try:
        state = load_file(file) if file.suffix == ".safetensors" else torch.load(file, map_location="cpu", weights_only=True)
        ours = {key.removeprefix(_BACKBONE): value for key, value in state.items() if key.startswith(_BACKBONE)}
        state = {key: value.contiguous().clone() for key, value in (ours or state).items() if not key.startswith("fc.")}
        backbone = resnet()
        backbone.fc = torch.nn.Identity()
        backbone.load_state_dict(state)
    except Exception as error:  # a broken file can raise nearly anything
        raise ValueError(f"{file} holds no ResNet-18 ({type(error).__name__}: {_line(error)})") from None
    if not all(value.isfinite().all() for value in state.values()):
        raise ValueError(f"{file} holds weights that are not finite")
    with atomic_path(folder_of(output_dir) / f"{name}.safetensors") as temporary:
        save_file(state, temporary)
    return name


def started_from(card):
    """What a run card says of where the backbone started, in words; cards of older runs only have their settings."""
    if card["stage"] == "warmup":
        return "from scratch"
    if "weights" in card:
        return card["weights"]
    stages = card.get("stages") or {card["stage"]: card}
    weights = (stages.get("disentangle") or {"settings": {}})["settings"].get("weights")
    return WARMED_UP if weights == WARMUP else str(weights or "not said")


def _official():
    from torchvision.models import ResNet18_Weights

    return ResNet18_Weights.IMAGENET1K_V1.url.rpartition("/")[2]


def _advice():
    return (
        f"Take a file in with `python -m handpose.pretrained FILE` (torchvision's {_official()}, fetched elsewhere) and add "
        "+weights=NAME to the preset, or train from scratch with +weights=none"
    )


def _line(error):
    if isinstance(error, pickle.UnpicklingError):  # torch's own text says how to run what is in it
        return "it is no file of tensors alone"
    return " ".join(str(error).split())[:200]


def main(arguments=None):
    """Command line: take a file of ResNet-18 weights in, and say what to type next."""
    parser = argparse.ArgumentParser(prog="python -m handpose.pretrained", description=main.__doc__)
    parser.add_argument("file", help="torchvision's .pth, a .safetensors file, or the run.json of a run of ours")
    parser.add_argument("--name", help="what to call it in a preset (the file's name)")
    parser.add_argument("--output-dir", help="where the runs lie (runs in the checkout)")
    options = parser.parse_args(arguments)
    try:
        name = take_in(options.file, options.output_dir or PACKAGE.parent / "runs", options.name)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(f"taken in; use it with PRESET=paper+weights={name}")


if __name__ == "__main__":
    main()
