"""Our input path against the usual one: decode, crop, turn and resize each picture in a loader's worker."""

import time
import warnings

import numpy as np
import torch
from PIL import Image

from handpose.data import RHD, write_shards
from handpose.data.augment import draw_augmentation, warp
from handpose.data.crops import ROTATION_MARGIN
from handpose.geometry import crop_box
from handpose.records import available_cores, source_digest
from tests.bench import Figure, least
from tests.bench.frames import FOLDER, make_frames

SIZE, BATCH, COUNT = 256, 64, 600
#: Passes over the frames that ours makes in a row, for about as many seconds as the usual way takes for one.
PASSES = 8


class Usual(torch.utils.data.Dataset):
    """What most code does: open the PNG, and one affine map of the picture for crop, rotation and size."""

    def __init__(self, frames):
        self.paths = [frames.root / "training" / "color" / f"{number:05d}.png" for number in range(len(frames.uv))]
        self.boxes = [crop_box(uv) for uv in frames.uv]
        self.poses = np.asarray(frames.xyz, np.float32)

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, place):
        (u, v), side = self.boxes[place]
        angle = np.random.default_rng(place).uniform(-np.pi / 4, np.pi / 4)
        cos, sin = np.cos(angle) * side / SIZE, np.sin(angle) * side / SIZE
        middle = SIZE / 2
        matrix = (cos, -sin, u - (cos - sin) * middle, sin, cos, v - (sin + cos) * middle)
        with Image.open(self.paths[place]) as picture:
            crop = picture.convert("RGB").transform((SIZE, SIZE), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
        image = torch.from_numpy(np.array(crop)).permute(2, 0, 1).float() / 255
        mean, std = torch.tensor([0.485, 0.456, 0.406])[:, None, None], torch.tensor([0.229, 0.224, 0.225])[:, None, None]
        return (image - mean) / std, torch.from_numpy(self.poses[place])


def shard_folder(frames):
    """Where the shards of the folder ``frames`` are kept: apart for other frames, and for code that makes others of them."""
    return FOLDER / f"shards-{frames}-to-{SIZE}px-{source_digest('data/shards.py', 'data/crops.py', 'geometry.py')[:8]}"


def of_inputs():
    cores = available_cores()
    torch.set_num_threads(cores)
    frames = RHD(make_frames(COUNT), "training")
    shards = write_shards(frames, shard_folder(frames.root.name), SIZE, progress=False)
    loader = torch.utils.data.DataLoader(Usual(frames), BATCH, shuffle=True, num_workers=cores, persistent_workers=True)
    draws = torch.Generator().manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch warns of a file that can't be written
        crops = torch.from_numpy(shards.crops)

    def ours():
        began = time.perf_counter()
        for _ in range(PASSES):
            order = torch.randperm(len(shards), generator=draws)
            for start in range(0, len(shards), BATCH):
                rows = np.sort(order[start : start + BATCH].numpy())
                angle, flip = draw_augmentation(len(rows), draws)
                warp(crops, torch.from_numpy(shards.pose[rows]), SIZE, angle, flip, rows)
        return (time.perf_counter() - began) / PASSES

    def usual():
        began = time.perf_counter()
        for _ in loader:
            pass
        return time.perf_counter() - began

    mine, theirs = least(3, ours, usual)
    ratio = theirs / mine
    stored = f"stored {ROTATION_MARGIN:.2f} times as wide"
    yield Figure("input", f"pictures a second at {SIZE} px from shards ({stored}), {cores} threads", f"{len(shards) / mine:.0f}")
    yield Figure("input", f"decoded, cropped, turned and resized one by one, {cores} workers", f"{len(shards) / theirs:.0f}")
    yield Figure("input", "ours over the usual way", f"{ratio:.1f} times", "at least 10", ratio >= 10)
