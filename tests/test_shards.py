import hashlib
import math
import multiprocessing
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from handpose import geometry
from handpose.data import augment, resample, shards
from handpose.data.frame import Frame
from handpose.data.shards import ROTATION_MARGIN, open_shards, write_shards

SIDE = 128
K = np.array([[400.0, 0, SIDE / 2], [0, 400, SIDE / 2], [0, 0, 1]], np.float32)
WIDE = 12  # a network size that keeps files small


class Frames:
    """A dataset in memory: what write_shards asks of RHD, and a note of every frame it asked for."""

    split, root, folder, root_joint = "training", Path("frames"), Path("frames"), "palm"

    def __init__(self, count=10, seed=0):
        rng = np.random.default_rng(seed)
        self.skipped = ()
        self.xyz = (rng.normal(size=(count, 21, 3)) * 25 + [0, 0, 600]).astype(np.float32)
        self.uv = geometry.project(self.xyz, K).astype(np.float32)
        self.images = rng.integers(0, 256, (count, SIDE, SIDE, 3), np.uint8)
        self.hands = rng.choice(["left", "right"], count)
        self.visible = rng.random((count, 21)) < 0.7
        self.fails_at = None
        self.asked = []

    def label_stamp(self):
        return hashlib.sha256(self.xyz.tobytes() + self.images.tobytes() + self.visible.tobytes()).hexdigest()

    def picture_sizes(self):
        return np.full((len(self), 1), 100)

    def __len__(self):
        return len(self.xyz)

    def __getitem__(self, index):
        if index == self.fails_at:
            raise OSError("the disk went away")
        self.asked.append(index)
        return Frame(self.images[index], self.xyz[index], self.uv[index], K, self.hands[index], self.visible[index])


def write(dataset, folder, size=WIDE):
    return write_shards(dataset, folder, size, workers=1, progress=False)


def assert_same(first, second):
    for field in fields(first):
        np.testing.assert_array_equal(getattr(first, field.name), getattr(second, field.name), err_msg=field.name)


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(shards, "_CHUNK", 4)


def brightest(image):
    """Centre of mass of the light in a grey picture: (x, y), px from the top left corner."""
    light = image.astype(float)
    rows, columns = np.indices(light.shape) + 0.5
    return np.array([(light * columns).sum(), (light * rows).sum()]) / light.sum()


@pytest.mark.parametrize("hand", ["left", "right"])
@pytest.mark.parametrize("joint", [4, 12, 20])
def test_a_joint_lands_where_the_crop_says(tmp_path, hand, joint):
    dataset = Frames(1)
    dataset.hands = [hand]
    dataset.uv = np.round(dataset.uv - 0.5) + np.float32(0.5)  # pixel centres
    column, row = np.floor(dataset.uv[0, joint]).astype(int)
    dataset.images[:] = 0
    dataset.images[0, row - 1 : row + 2, column - 1 : column + 2] = 255
    crops = write(dataset, tmp_path / "shards", size=64).crops
    resolution = crops.shape[1]
    assert resolution == math.ceil(64 * math.sqrt(2))

    low, high = dataset.uv[0].min(0), dataset.uv[0].max(0)
    side = 1.3 * (high - low).max() * math.sqrt(2)
    expected = (dataset.uv[0, joint] - ((low + high) / 2 - side / 2)) / side * resolution
    if hand == "left":
        expected[0] = resolution - expected[0]
    np.testing.assert_allclose(brightest(crops[0, ..., 0]), expected, atol=0.3)


def test_shards_hold_what_the_frames_say(tmp_path):
    dataset = Frames()
    made = write(dataset, tmp_path / "shards")
    assert len(made) == 10
    assert made.crops.shape == (10, 17, 17, 3)
    np.testing.assert_array_equal(made.frame, np.arange(10))
    np.testing.assert_array_equal(made.target, dataset.xyz)
    np.testing.assert_array_equal(made.visible, dataset.visible)
    np.testing.assert_array_equal(made.left, dataset.hands == "left")
    np.testing.assert_allclose(made.root, geometry.palm_centre(dataset.xyz), rtol=1e-6)
    np.testing.assert_allclose(made.scale, geometry.hand_scale(dataset.xyz), rtol=1e-6)
    for index in range(10):
        centre, _ = geometry.crop_box(dataset.uv[index])
        pose, R = geometry.normalise_pose(dataset.xyz[index], centre, K, dataset.hands[index])
        np.testing.assert_allclose(made.pose[index], pose, atol=1e-5)
        np.testing.assert_allclose(made.rotation[index], R, atol=1e-6)
    assert made.pose.dtype == made.target.dtype == made.rotation.dtype == np.float32


def test_labels_lead_back_to_the_camera_frame(tmp_path):
    made = write(Frames(), tmp_path / "shards")
    restored = geometry.restore_pose(made.pose, made.rotation, made.left, made.root, made.scale)
    np.testing.assert_allclose(restored, made.target, atol=1e-2)


def test_a_dataset_may_be_rooted_at_its_joint_0(tmp_path):
    dataset = Frames()
    dataset.root_joint = "wrist"
    made = write(dataset, tmp_path / "shards")
    np.testing.assert_array_equal(made.root, dataset.xyz[:, 0])
    np.testing.assert_allclose(made.pose[:, 0], 0, atol=1e-5)


def test_crops_are_mapped_and_not_read(tmp_path):
    assert isinstance(write(Frames(), tmp_path / "shards").crops, np.memmap)


@pytest.mark.parametrize("fails_at", [0, 3, 4, 9])
def test_an_interrupted_write_ends_as_an_undisturbed_one(tmp_path, small_chunks, fails_at):
    undisturbed = write(Frames(), tmp_path / "undisturbed")
    dataset = Frames()
    dataset.fails_at = fails_at
    with pytest.raises(OSError, match="the disk went away"):
        write(dataset, tmp_path / "shards")
    with pytest.raises(FileNotFoundError):
        open_shards(tmp_path / "shards")
    dataset.fails_at, dataset.asked = None, []
    assert_same(write(dataset, tmp_path / "shards"), undisturbed)
    assert dataset.asked == list(range(fails_at // 4 * 4, 10))  # whole chunks are not decoded again
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shards", "undisturbed"]
    names = {path.name for path in (tmp_path / "shards").iterdir()}
    assert names == {"crops.npy", "labels.npz", "shards.json"}


@pytest.mark.parametrize("step", ["write_json", "os.rename"])
def test_a_write_interrupted_at_its_end_goes_on(tmp_path, monkeypatch, small_chunks, step):
    dataset = Frames()
    dataset.skipped = (5,)
    dataset.xyz[2] = 500.0  # a frame to leave out: a gap to close
    undisturbed = write(dataset, tmp_path / "undisturbed")

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(f"handpose.data.shards.{step}", killed)
        with pytest.raises(KeyboardInterrupt):
            write(dataset, tmp_path / "shards")
    assert_same(write(dataset, tmp_path / "shards"), undisturbed)


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("chunk", [1, 3, 64])
def test_workers_and_chunks_do_not_change_the_shards(tmp_path, monkeypatch, workers, chunk):
    expected = write(Frames(), tmp_path / "expected")
    monkeypatch.setattr(shards, "_CHUNK", chunk)
    assert_same(write_shards(Frames(), tmp_path / "shards", WIDE, workers=workers, progress=False), expected)


def test_hands_that_cannot_be_cropped_are_left_out_and_listed(tmp_path, small_chunks):
    clean, dataset = Frames(), Frames()
    dataset.skipped = (7,)
    dataset.xyz[1, 10] = dataset.xyz[1, 9]  # no scale
    dataset.uv[4] += 10 * SIDE  # outside the picture
    dataset.uv[9] = 50.0  # no box
    made = write(dataset, tmp_path / "shards")
    assert made.skipped == (1, 4, 7, 9)
    kept = [0, 2, 3, 5, 6, 8]
    np.testing.assert_array_equal(made.frame, kept)
    whole = write(clean, tmp_path / "whole")
    assert whole.skipped == ()
    for name in ("crops", "pose", "rotation", "root", "scale", "left", "visible", "target"):
        np.testing.assert_array_equal(getattr(made, name), getattr(whole, name)[kept], err_msg=name)


def test_a_whole_chunk_may_be_left_out(tmp_path, small_chunks):
    dataset = Frames()
    dataset.uv[4:8] += 10 * SIDE
    np.testing.assert_array_equal(write(dataset, tmp_path / "shards").frame, [0, 1, 2, 3, 8, 9])


@pytest.mark.parametrize("reason", ["skipped", "outside"])
def test_a_dataset_without_a_usable_hand_is_refused(tmp_path, reason):
    dataset = Frames(3)
    if reason == "skipped":
        dataset.skipped = (0, 1, 2)
    else:
        dataset.uv += 10 * SIDE
    with pytest.raises(ValueError, match=r"frames holds no"):
        write(dataset, tmp_path / "shards")


def test_a_second_call_opens_without_decoding(tmp_path):
    first = write(Frames(), tmp_path / "shards")
    dataset = Frames()
    second = write(dataset, tmp_path / "shards")
    assert dataset.asked == []
    assert_same(first, second)
    assert_same(first, open_shards(tmp_path / "shards"))


def test_shards_of_another_size_or_of_other_labels_are_refused(tmp_path):
    write(Frames(), tmp_path / "shards")
    with pytest.raises(ValueError, match="another size"):
        write(Frames(), tmp_path / "shards", size=WIDE + 1)
    with pytest.raises(ValueError, match="other data"):
        write(Frames(seed=1), tmp_path / "shards")
    with pytest.raises(ValueError, match="other data"):
        write(Frames(count=9), tmp_path / "shards")
    for name, value in (("root_joint", "wrist"), ("skipped", (3,)), ("images", Frames().images // 2)):
        changed = Frames()
        setattr(changed, name, value)
        with pytest.raises(ValueError, match="other data"):
            write(changed, tmp_path / "shards")
    assert len(open_shards(tmp_path / "shards")) == 10  # and left as they were


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    dataset = Frames()
    with pytest.raises(ValueError, match="something other than shards"):
        write(dataset, tmp_path)
    assert dataset.asked == [] and [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_an_unfinished_write_for_another_size_is_not_gone_on_with(tmp_path, small_chunks):
    dataset = Frames()
    dataset.fails_at = 5
    with pytest.raises(OSError, match="went away"):
        write(dataset, tmp_path / "shards", size=WIDE + 1)
    assert_same(write(Frames(), tmp_path / "shards"), write(Frames(), tmp_path / "expected"))


@pytest.mark.parametrize("change", ["images", "visible", "hands", "xyz"])
def test_the_fingerprint_covers_pictures_and_labels(tmp_path, change):
    dataset = Frames(2)
    fingerprint = write(dataset, tmp_path / "shards").fingerprint
    if change == "images":
        dataset.images[1] ^= 8
    elif change == "visible":
        dataset.visible[1, 3] ^= True
    elif change == "hands":
        dataset.hands[1] = "left" if dataset.hands[1] == "right" else "right"
    else:
        dataset.xyz[1, 3, 2] += 1
    assert write(dataset, tmp_path / "others").fingerprint != fingerprint


def test_open_shards_refuses_a_folder_that_is_missing_or_unfinished(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        open_shards(tmp_path / "nowhere")
    write(Frames(2), tmp_path / "shards")
    (tmp_path / "shards" / "shards.json").unlink()
    with pytest.raises(FileNotFoundError, match="write_shards"):
        open_shards(tmp_path / "shards")


def test_a_cut_on_whole_pixels_copies_them():
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    np.testing.assert_array_equal(shards.cut(image, (11.0, 8.0), 6.0, 6), image[5:11, 8:14])


def test_a_cut_is_black_outside_the_picture():
    image = np.full((20, 30, 3), 200, np.uint8)
    crop = shards.cut(image, (0.0, 20.0), 8.0, 8)
    np.testing.assert_array_equal(crop[:4, 4:], 200)
    assert not crop[4:].any()
    assert not crop[:, :4].any()


@pytest.mark.parametrize(
    ("centre", "side"),
    [((-5, 10), 10), ((35, 10), 10), ((10, -5), 10), ((10, 25), 10), ((10, 10), 0), ((10, 10), -3),
     ((np.nan, 10), 5), ((10, 10), np.nan), ((10, np.inf), 5)],
)  # fmt: skip
def test_a_cut_of_nothing_is_refused(centre, side):
    with pytest.raises(ValueError, match="crop of side"):
        shards.cut(np.zeros((20, 30, 3), np.uint8), centre, side, 8)


# In-plane augmentation


def colours(images):
    """Undo the normalisation by the ImageNet statistics: (B, 3, S, S) -> 0..255."""
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    return (images * std + mean) * 255


def test_images_are_normalised_by_the_imagenet_statistics():
    crops = torch.tensor([[200, 100, 50]], dtype=torch.uint8).expand(1, 46, 46, 3)
    batch = augment.warp(crops, torch.zeros(1, 21, 3), 32)
    assert batch.images.shape == (1, 3, 32, 32)
    assert batch.images.dtype == batch.pose.dtype == torch.float32
    expected = [(200 / 255 - 0.485) / 0.229, (100 / 255 - 0.456) / 0.224, (50 / 255 - 0.406) / 0.225]
    for channel, value in enumerate(expected):
        torch.testing.assert_close(batch.images[0, channel], torch.full((32, 32), value))


def test_without_angles_the_crop_is_only_cut_and_resized():
    resolution, size = 46, 32
    ramp = 4 * torch.arange(resolution)
    crops = torch.zeros(1, resolution, resolution, 3, dtype=torch.uint8)
    crops[0, :, :, 0] = ramp  # grows to the right
    crops[0, :, :, 1] = ramp[:, None]  # grows downwards
    pose = torch.randn(1, 21, 3)
    batch = augment.warp(crops, pose, size)
    place = resolution / 2 + (torch.arange(size) + 0.5 - size / 2) * resolution / (size * ROTATION_MARGIN)
    expected = 4 * (place - 0.5)
    images = colours(batch.images)
    torch.testing.assert_close(images[0, 0], expected.expand(size, size), rtol=0, atol=1e-2)
    torch.testing.assert_close(images[0, 1], expected[:, None].expand(size, size), rtol=0, atol=1e-2)
    torch.testing.assert_close(batch.pose, pose)


def test_picture_and_pose_turn_together():
    resolution, size, count = 92, 64, 8
    angle = torch.linspace(-math.pi / 4, math.pi / 4, count)
    flip = torch.arange(count) % 3 == 0
    pose = torch.zeros(count, 21, 3)
    pose[:, 7] = torch.tensor([[0.5, 0.1 * index, 3.0] for index in range(-4, 4)])
    crops = torch.zeros(count, resolution, resolution, 3, dtype=torch.uint8)
    per_unit = 40.0  # px of the stored crop
    for index in range(count):
        column, row = (resolution / 2 + per_unit * pose[index, 7, :2]).floor().int().tolist()
        crops[index, row - 1 : row + 2, column - 1 : column + 2] = 255
        pose[index, 7, :2] = (torch.tensor([column, row]) + 0.5 - resolution / 2) / per_unit

    batch = augment.warp(crops, pose, size, angle, flip)
    zoom = size * ROTATION_MARGIN / resolution
    images = colours(batch.images)[:, 0].clamp(min=0)
    for index in range(count):
        seen = (brightest(images[index].numpy()) - size / 2) / (per_unit * zoom)
        np.testing.assert_allclose(batch.pose[index, 7, :2], seen, atol=0.01)
        x, y = pose[index, 7, :2].tolist()
        y = -y if flip[index] else y
        cos, sin = math.cos(angle[index]), math.sin(angle[index])
        np.testing.assert_allclose(batch.pose[index, 7, :2], [cos * x - sin * y, sin * x + cos * y], atol=1e-5)
    torch.testing.assert_close(batch.pose[..., 2], pose[..., 2])  # depth stays


def test_a_flip_alone_mirrors_top_to_bottom():
    crops = torch.randint(0, 256, (2, 46, 46, 3), dtype=torch.uint8)
    pose = torch.randn(2, 21, 3)
    plain = augment.warp(crops, pose, 32)
    flipped = augment.warp(crops, pose, 32, torch.zeros(2), torch.tensor([True, False]))
    torch.testing.assert_close(flipped.images[0], plain.images[0].flip(1), rtol=0, atol=1e-4)
    torch.testing.assert_close(flipped.images[1], plain.images[1])
    torch.testing.assert_close(flipped.pose[0], pose[0] * torch.tensor([1.0, -1.0, 1.0]))
    torch.testing.assert_close(flipped.pose[1], pose[1])


def test_a_quarter_turn_takes_x_to_y():
    A = augment.in_plane(torch.tensor([math.pi / 2, math.pi / 2]), torch.tensor([False, True]))
    torch.testing.assert_close(A[0] @ torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), rtol=0, atol=1e-6)
    torch.testing.assert_close(A[1] @ torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0]), rtol=0, atol=1e-6)


def test_in_plane_motions_keep_lengths():
    A = augment.in_plane(torch.linspace(-3, 3, 10), torch.arange(10) % 2 == 1)
    torch.testing.assert_close(A @ A.transpose(1, 2), torch.eye(2).expand(10, 2, 2))
    torch.testing.assert_close(torch.linalg.det(A), 1.0 - 2 * (torch.arange(10) % 2))


def test_turning_by_45_degrees_stays_inside_the_stored_crop():
    crops = torch.full((1, 46, 46, 3), 100, dtype=torch.uint8)
    crops[:, 1:-1, 1:-1] = 200
    edge = augment.warp(crops, torch.zeros(1, 21, 3), 32, torch.tensor([math.pi / 4]), torch.tensor([False]))
    inside = colours(edge.images)[0, 0]
    assert inside[1:-1, 1:-1].min() > 199  # the crop's own border shows in the corners at most
    assert (inside > 199).float().mean() > 0.98


def test_augmentation_is_drawn_uniformly_and_from_its_generator():
    angle, flip = augment.draw_augmentation(20_000, torch.Generator().manual_seed(0), 30.0, 0.25)
    degrees = angle * 180 / math.pi
    assert degrees.abs().max() <= 30
    assert degrees.std().item() == pytest.approx(30 / math.sqrt(3), rel=0.02)
    assert degrees.mean().abs() < 0.5
    assert flip.float().mean().item() == pytest.approx(0.25, abs=0.015)
    again = augment.draw_augmentation(20_000, torch.Generator().manual_seed(0), 30.0, 0.25)
    assert torch.equal(again[0], angle)
    assert torch.equal(again[1], flip)


def motions(count, seed, largest=180.0):
    A = augment.in_plane(*augment.draw_augmentation(count, torch.Generator().manual_seed(seed), largest))
    return A.transpose(1, 2) / ROTATION_MARGIN


STATISTICS = ([0.48, 0.45, 0.4], [0.23, 0.22, 0.225])


@given(st.integers(1, 5), st.integers(1, 60), st.integers(1, 60), st.integers(1, 45), st.integers(0, 2**31))
@settings(deadline=None, max_examples=60)
def test_the_compiled_warp_agrees_with_pytorchs_operations(count, height, width, size, seed):
    crops = torch.randint(0, 256, (count, height, width, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    ours = resample.resample(crops, motions(count, seed), size, *STATISTICS)
    assert ours.dtype == torch.float32
    assert ours.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(ours, resample.grid_resample(crops, motions(count, seed), size, *STATISTICS), rtol=0, atol=5e-4)


def test_the_compiled_warp_agrees_at_the_size_of_the_paper():
    crops = torch.randint(0, 256, (3, 363, 363, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    ours, other = (way(crops, motions(3, 0, 45.0), 256, *STATISTICS) for way in (resample.resample, resample.grid_resample))
    torch.testing.assert_close(ours, other, rtol=0, atol=5e-4)


def test_the_number_of_threads_changes_no_bit(monkeypatch):
    crops = torch.randint(0, 256, (7, 46, 46, 3), dtype=torch.uint8)
    found = []
    for threads in (1, 2, 3, 16):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        found.append(augment.warp(crops, torch.zeros(7, 21, 3), 32, torch.linspace(-1, 1, 7), torch.arange(7) % 2 == 0).images)
    assert all(torch.equal(images, found[0]) for images in found)


def warped_in_a_child(crops):
    torch.set_num_threads(2)
    return augment.warp(crops, torch.zeros(len(crops), 21, 3), 32).images.numpy()


@pytest.mark.parametrize("start", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_process_warps_with_threads_of_its_own(start):
    crops = torch.randint(0, 256, (4, 46, 46, 3), dtype=torch.uint8)
    here = warped_in_a_child(crops)
    with multiprocessing.get_context(start).Pool(1) as pool:
        assert np.array_equal(pool.apply_async(warped_in_a_child, (crops,)).get(timeout=120), here)


def test_no_picture_and_motions_that_are_no_numbers_do_no_harm():
    assert augment.warp(torch.zeros(0, 46, 46, 3, dtype=torch.uint8), torch.zeros(0, 21, 3), 32).images.shape == (0, 3, 32, 32)
    crops = torch.full((1, 46, 46, 3), 100, dtype=torch.uint8)
    for angle in (math.nan, math.inf):
        assert augment.warp(crops, torch.zeros(1, 21, 3), 32, torch.tensor([angle]), torch.tensor([False])).images.shape == (1, 3, 32, 32)


@pytest.mark.parametrize("crops", [torch.zeros(2, 46, 46, 3), torch.zeros(2, 3, 46, 46, dtype=torch.uint8),
                                   torch.zeros(46, 46, 3, dtype=torch.uint8), torch.zeros(2, 0, 0, 3, dtype=torch.uint8)])  # fmt: skip
def test_the_compiled_warp_refuses_what_is_no_picture(crops):
    with pytest.raises(ValueError, match=r"crops must be uint8 \(B, R, R, 3\)"):
        augment.warp(crops, torch.zeros(len(crops), 21, 3), 32)


def test_the_compiled_warp_refuses_another_number_of_motions():
    crops = torch.zeros(2, 46, 46, 3, dtype=torch.uint8)
    with pytest.raises(ValueError, match="2 crops and 3 motions"):
        augment.warp(crops, torch.zeros(2, 21, 3), 32, torch.zeros(3), torch.zeros(3, dtype=torch.bool))


def test_chosen_rows_are_warped_as_if_they_had_been_copied_out():
    crops = torch.randint(0, 256, (9, 46, 46, 3), dtype=torch.uint8)
    rows = np.array([8, 0, 3])
    motion = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([True, False, True])
    copied = augment.warp(crops[rows], torch.zeros(3, 21, 3), 32, *motion).images
    assert torch.equal(augment.warp(crops, torch.zeros(3, 21, 3), 32, *motion, rows).images, copied)
    inverse = augment.in_plane(*motion).transpose(1, 2) / ROTATION_MARGIN
    normalised = augment._IMAGENET_MEAN, augment._IMAGENET_STD
    torch.testing.assert_close(resample.grid_resample(crops, inverse, 32, *normalised, rows), copied, rtol=0, atol=5e-4)


@pytest.mark.parametrize("rows", [[0, 2], [-1, 0]])
def test_rows_that_are_not_there_are_refused(rows):
    crops = torch.zeros(2, 46, 46, 3, dtype=torch.uint8)
    with pytest.raises(ValueError, match=f"rows {rows[0]} to {rows[1]} of 2 crops"):
        augment.warp(crops, torch.zeros(2, 21, 3), 32, torch.zeros(2), torch.zeros(2, dtype=torch.bool), np.array(rows))


@pytest.mark.parametrize(("probability", "flipped"), [(0.0, False), (1.0, True)])
def test_augmentation_can_be_switched_off(probability, flipped):
    angle, flip = augment.draw_augmentation(100, torch.Generator().manual_seed(0), 0.0, probability)
    assert not angle.any()
    assert (flip == flipped).all()


@pytest.mark.parametrize("joint", [0, 4, 20])
@pytest.mark.parametrize("size", [24, 200])
def test_rectified_crop_shows_the_view_corrected_camera(joint, size):
    """A dot at a joint's pixel lands where the corrected camera K' sees the corrected joint."""
    rng = np.random.default_rng(3)
    xyz = rng.normal(size=(21, 3)) * [30, 30, 20] + [60, -40, 500]
    camera = np.array([[420.0, 0, 150], [0, 400, 170], [0, 0, 1]])
    uv = geometry.project(xyz, camera)
    image = np.zeros((320, 320, 3), np.uint8)
    u, v = np.floor(uv[joint]).astype(int)
    image[v - 3 : v + 4, u - 3 : u + 4] = 255
    spot = np.array([u + 0.5, v + 0.5])
    centre, side = geometry.crop_box(uv)
    R = geometry.view_rotation(centre, camera)
    crop = shards.rectify(image, centre, side, size, camera, R)
    ray = R @ np.linalg.inv(camera) @ [*spot, 1]
    expected = ray[:2] / ray[2] * [420, 400] * size / side + size / 2
    np.testing.assert_allclose(brightest(crop[..., 0]), expected, atol=0.35 if size == 24 else 0.6)


def test_a_homography_keeps_the_middle_of_the_crop_in_the_middle():
    image = np.zeros((100, 140, 3), np.uint8)
    image[30:33, 90:93] = 255
    camera = np.array([[120.0, 0, 70], [0, 120, 50], [0, 0, 1]])
    centre = np.array([91.5, 31.5])
    crop = shards.rectify(image, centre, 40, 80, camera, geometry.view_rotation(centre, camera))
    np.testing.assert_allclose(brightest(crop[..., 0]), [40, 40], atol=0.3)


def test_view_is_crop_or_homography(tmp_path):
    first = write_shards(Frames(), tmp_path / "crop", WIDE, progress=False)
    second = write_shards(Frames(), tmp_path / "turned", WIDE, progress=False, view="homography")
    np.testing.assert_array_equal(first.pose, second.pose)
    assert not np.array_equal(first.crops, second.crops)
    with pytest.raises(ValueError, match="view must be"):
        write_shards(Frames(), tmp_path / "other", WIDE, progress=False, view="warp")
    with pytest.raises(ValueError, match="other data"):
        write_shards(Frames(), tmp_path / "crop", WIDE, progress=False, view="homography")


def test_a_box_far_larger_than_the_picture_is_refused():
    with pytest.raises(ValueError, match="times the picture"):
        shards.cut(np.zeros((10, 10, 3), np.uint8), (5, 5), 1e6, 8)
