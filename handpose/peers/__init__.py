"""The seven methods of Table 3 beside the paper's own, trained in the same loop on the same crops.

One file a method. Each has ``NETWORKS``, what it consists of, ``STAGES``, its trainings in order by name, and its table of
what is known, what we assumed and what we scaled stands on the book's page of peers.
"""

import importlib
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch

from ..geometry import restore_pose
from ..records import source_digest
from ..train import outputs
from .picture import WithPicture, crop_cameras

#: The source that a method's training depends on beside ``records.TRAINING_CODE``; its own file comes to it.
_SHARED_CODE = ("peers/__init__.py", "peers/parts.py", "peers/picture.py")


def module(name):
    """The module of the method ``name``, "iqbal" say."""
    return importlib.import_module(f".{name}", __name__)


def code(name):
    """Digest of the source that only the method ``name`` stands on."""
    return source_digest(*_SHARED_CODE, f"peers/{name}.py", *(f"peers/{part}.py" for part in getattr(module(name), "STANDS_ON", ())))


def make_networks(name, preset, seed, parent=None):
    """The networks of the method ``name``, drawn from ``seed``; ``parent``: the state of the training before, a dict.

    Of the warm-up's only the backbone is taken over. Raises ValueError when the preset's weights can't be had.
    """
    torch.manual_seed(seed)
    weights = preset.weights if parent is None else None
    networks = module(name).NETWORKS(weights=weights)
    if parent and set(parent) != set(networks.state_dict()):  # the warm-up's
        parent = {key: value for key, value in parent.items() if key.startswith("rgb_encoder.backbone")}
    networks.load_state_dict(parent or {}, strict=False)
    return networks


def what_we_know(name):
    """What is known of the method ``name``, what was assumed, and what was scaled with the picture: DataFrame of texts."""
    table = pd.DataFrame(module(name).KNOWN, columns=["part", "here", "known, assumed or scaled"])
    return table.set_index("part")


def epochs(name, stage, preset):
    """Epochs that ``stage`` of the method ``name`` takes with a ``Preset``."""
    return module(name).STAGES[stage].epochs(SimpleNamespace(preset=preset))


def training_shards(data, view):
    """The training split of ``data`` (a ``runs.Data``) with picture coordinates beside the poses."""
    return WithPicture(data.training, crop_cameras(data.training, data.frames("training"), view))


def predict(networks, data, size, fabric, view="crop", batch=256):
    """Poses of the evaluation split in the camera frame: float32 (N, 21, 3), mm. As ``train.predict``, but a method that
    predicts in the picture is lifted with the camera of each crop.
    """
    networks.eval()
    shards = data.evaluation
    output = outputs(networks.picture if networks.in_picture else networks, shards, size, fabric, batch)
    if not networks.in_picture:
        return restore_pose(output, shards.rotation, shards.left, shards.root, shards.scale).astype(np.float32)
    cameras = crop_cameras(shards, data.frames("evaluation"), view)
    return networks.lift(output, cameras, shards.root, shards.scale).astype(np.float32)
