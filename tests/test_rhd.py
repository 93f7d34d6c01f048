import contextlib
import os
import pickle
import struct

import numpy as np
import pytest
from PIL import Image

from handpose.data.rhd import OFFICIAL_COUNTS, RHD, decode_depth, dominant_hand, load_annotations
from handpose.skeleton import JOINTS

SIZE = 32
#: RHD's 42 joints by name, left hand first, each finger from tip to base.
_FINGERS = [name for name in JOINTS if name != "wrist"]
_HAND = ["wrist", *(name for base in range(0, 20, 4) for name in reversed(_FINGERS[base : base + 4]))]
SOURCE = [f"left {name}" for name in _HAND] + [f"right {name}" for name in _HAND]


def entry(seed):
    rng = np.random.default_rng(seed)
    xyz = (rng.normal(size=(42, 3)) * 0.05 + [0, 0, 0.6]).astype(np.float32)
    uv_vis = np.column_stack([rng.uniform(0, SIZE, (42, 2)), rng.random(42) < 0.5]).astype(np.float32)
    K = np.array([[300 + seed, 0, 16], [0, 300 + seed, 16], [0, 0, 1]], np.float32)
    return {"xyz": xyz, "uv_vis": uv_vis, "K": K}


def mask_of(left, right):
    """A mask with so many pixels of each hand, some of a person, the rest background."""
    mask = np.zeros(SIZE * SIZE, np.uint8)
    mask[:left] = 2 + np.arange(left) % 16  # ids 2..17
    mask[left : left + right] = 18 + np.arange(right) % 16  # ids 18..33
    mask[left + right : left + right + 50] = 1
    return mask.reshape(SIZE, SIZE)


def picture(seed):
    return np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE, 3), np.uint8)


MASKS = [mask_of(60, 40), mask_of(40, 60), mask_of(50, 50)]


def write_annotations(root, entries, protocol=2, split="evaluation"):
    (root / split).mkdir(parents=True, exist_ok=True)
    path = root / split / f"anno_{split}.pickle"
    path.write_bytes(entries if isinstance(entries, bytes) else pickle.dumps(entries, protocol))
    return path


@pytest.fixture
def root(tmp_path):
    """Three frames in the official layout: left hand, right hand, a tie."""
    root = tmp_path / "dataset"
    write_annotations(root, {index: entry(index) for index in range(3)})
    for kind in ("color", "mask", "depth"):
        (root / "evaluation" / kind).mkdir()
    for index, mask in enumerate(MASKS):
        Image.fromarray(picture(index)).save(root / "evaluation" / "color" / f"{index:05d}.png")
        Image.fromarray(mask).save(root / "evaluation" / "mask" / f"{index:05d}.png")
    return root


@contextlib.contextmanager
def refused(kind, *parts):
    """The block ends in one line that names every part."""
    with pytest.raises(kind) as caught:
        yield
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert str(part) in message


def test_a_frame_has_the_fields_of_every_dataset(root):
    frames = RHD(root, "evaluation")
    assert len(frames) == 3
    frame = frames[0]
    np.testing.assert_array_equal(frame.image, picture(0))
    assert frame.image.dtype == np.uint8
    assert (frame.xyz.dtype, frame.xyz.shape) == (np.float32, (21, 3))
    assert (frame.uv.dtype, frame.uv.shape) == (np.float32, (21, 2))
    assert (frame.visible.dtype, frame.visible.shape) == (bool, (21,))
    np.testing.assert_array_equal(frame.K, entry(0)["K"])


def test_a_frame_that_is_changed_leaves_the_dataset_as_it_was(root):
    frames = RHD(root, "evaluation")
    before = frames.label_stamp()
    frame = frames[0]
    for labels in (frame.xyz, frame.uv, frame.K, frame.visible):
        labels[...] = 1
    assert frames.label_stamp() == before


@pytest.mark.parametrize(("index", "hand"), [(0, "left"), (1, "right"), (2, "right")])
def test_joints_of_the_dominant_hand_come_in_canonical_order(root, index, hand):
    frame, source = RHD(root, "evaluation")[index], entry(index)
    assert frame.hand == hand
    for joint, name in enumerate(JOINTS):
        row = SOURCE.index(f"{hand} {name}")
        np.testing.assert_allclose(frame.xyz[joint], source["xyz"][row] * 1000, rtol=1e-6)  # metres to mm
        np.testing.assert_array_equal(frame.uv[joint], source["uv_vis"][row, :2])
        assert frame.visible[joint] == (source["uv_vis"][row, 2] == 1)


def test_official_joint_numbers():
    # as the dataset's own text has them: 4 is the left thumb's base, 12 the left middle MCP, 25 the right thumb's base
    assert SOURCE[1] == "left thumb_tip"
    assert SOURCE[4] == "left thumb_cmc"
    assert SOURCE[12] == "left middle_mcp"
    assert SOURCE[21] == "right wrist"
    assert SOURCE[25] == "right thumb_cmc"
    assert SOURCE[38] == "right little_tip"


def test_the_folder_above_the_download_works_too(root, tmp_path):
    (tmp_path / "above").mkdir()
    root.rename(tmp_path / "above" / "RHD_published_v2")
    assert len(RHD(tmp_path / "above", "evaluation")) == 3
    assert len(RHD(str(tmp_path / "above"), "evaluation")) == 3


def test_frames_out_of_range_are_an_index_error(root):
    frames = RHD(root, "evaluation")
    np.testing.assert_array_equal(frames[-1].image, frames[2].image)
    for index in (3, -4):
        with refused(IndexError, index):
            frames[index]
    assert len(list(frames)) == 3  # iteration ends there


@pytest.mark.parametrize(
    ("left", "right", "hand"),
    [(2, 1, "left"), (1, 2, "right"), (1, 1, "right"), (0, 0, "right"), (1, 0, "left")],
)
def test_dominant_hand_has_more_pixels(left, right, hand):
    assert dominant_hand(mask_of(left, right)) == hand


@pytest.mark.parametrize(
    ("value", "counts_for"), [(0, None), (1, None), (2, "left"), (17, "left"), (18, "right"), (33, "right")]
)
def test_mask_values_of_each_hand(value, counts_for):
    pixels = {"left": 10, "right": 10}
    if counts_for:
        pixels[counts_for] += 5
    mask = np.repeat(np.array([2, 18, value], np.uint8), [10, 10, 5])[None]
    assert dominant_hand(mask) == ("left" if pixels["left"] > pixels["right"] else "right")
    mask = np.append(mask, np.uint8(2))  # one more left pixel: left, unless the right has five more
    assert dominant_hand(mask) == ("right" if counts_for == "right" else "left")


def test_depth_by_hand():
    png = np.array([[[0, 0, 0], [255, 255, 0], [128, 0, 7], [0, 1, 0], [1, 0, 0]]], np.uint8)
    expected = np.array([[0, 65535, 32768, 1, 256]]) * 5000 / 65535
    depth = decode_depth(png)
    assert depth.dtype == np.float32
    np.testing.assert_allclose(depth, expected, rtol=1e-6)


def assert_same_annotations(path):
    xyz, uv, visible, K = load_annotations(path)
    for index in range(3):
        source = entry(index)
        np.testing.assert_allclose(xyz[index], source["xyz"] * 1000, rtol=1e-6)
        np.testing.assert_array_equal(uv[index], source["uv_vis"][:, :2])
        np.testing.assert_array_equal(visible[index], source["uv_vis"][:, 2] == 1)
        np.testing.assert_array_equal(K[index], source["K"])


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_annotations_of_every_pickle_protocol_load(tmp_path, protocol):
    assert_same_annotations(write_annotations(tmp_path, {index: entry(index) for index in range(3)}, protocol))


@pytest.mark.parametrize("protocol", [2, 5])
@pytest.mark.parametrize(("ours", "other"), [(b"numpy._core", b"numpy.core"), (b"numpy.core", b"numpy._core")])
def test_annotations_of_both_numpy_generations_load(tmp_path, protocol, ours, other):
    data = pickle.dumps({index: entry(index) for index in range(3)}, protocol)
    if data[2:3] == pickle.FRAME:  # frames and short strings carry their length
        data = data[:2] + data[11:]
        for module in (b"multiarray", b"numeric"):
            old, new = ours + b"." + module, other + b"." + module
            data = data.replace(b"\x8c" + bytes([len(old)]) + old, b"\x8c" + bytes([len(new)]) + new)
    assert_same_annotations(write_annotations(tmp_path, data.replace(b"c" + ours, b"c" + other)))


def python2_pickle(entries):
    """What Python 2 and numpy 1 wrote: array bytes as byte strings, GLOBAL and BINSTRING opcodes."""

    def array(value):
        rows, columns = value.shape
        raw = value.astype("<f4").tobytes()
        return (
            b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"
            + b"(K\x01K" + bytes([rows]) + b"K" + bytes([columns]) + b"\x86"
            + b"cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
            + b"\x89T" + struct.pack("<i", len(raw)) + raw + b"tb"
        )  # fmt: skip

    data = b"\x80\x02}("
    for index, fields in entries.items():
        data += b"K" + bytes([index]) + b"}("
        for key, value in fields.items():
            data += b"U" + bytes([len(key)]) + key.encode() + array(value)
        data += b"u"
    return data + b"u."


def test_annotations_written_by_python_2_load(tmp_path):
    assert_same_annotations(write_annotations(tmp_path, python2_pickle({index: entry(index) for index in range(3)})))


def test_annotations_in_double_precision_or_lists_load(tmp_path):
    entries = {index: entry(index) for index in range(3)}
    entries[1] = {key: value.astype(np.float64) for key, value in entries[1].items()}
    entries[2] = {key: value.tolist() for key, value in entries[2].items()}
    path = write_annotations(tmp_path, entries)
    assert_same_annotations(path)
    assert all(array.dtype in (np.float32, bool) for array in load_annotations(path))


class Hostile:
    def __init__(self, function, argument):
        self.call = function, (argument,)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("function", [os.system, eval, np.load])
def test_a_hostile_pickle_is_refused_and_not_run(tmp_path, protocol, function):
    trace = tmp_path / "trace"
    argument = {os.system: f"touch {trace}", eval: f"open({str(trace)!r}, 'w')", np.load: str(trace)}[function]
    entries = {0: entry(0) | {"extra": Hostile(function, argument)}}
    path = write_annotations(tmp_path, entries, protocol)
    with refused(ValueError, path, "no RHD annotation needs"):
        load_annotations(path)
    assert not trace.exists()
    if function is os.system:  # the trap works: a plain load springs it
        pickle.loads(path.read_bytes())
        assert trace.exists()


def test_an_object_array_cannot_smuggle_code_in(tmp_path):
    smuggler = np.empty(1, object)
    smuggler[0] = Hostile(os.system, f"touch {tmp_path / 'trace'}")
    path = write_annotations(tmp_path, {0: entry(0) | {"xyz": smuggler}})
    with refused(ValueError, path):
        load_annotations(path)
    assert not (tmp_path / "trace").exists()


def broken(key, value):
    entries = {index: entry(index) for index in range(3)}
    entries[1][key] = value
    return entries


def not_finite(key, value):
    array = entry(1)[key]
    array[2, 1] = value
    return broken(key, array)


def missing(key):
    entries = {index: entry(index) for index in range(3)}
    del entries[1][key]
    return entries


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        (missing("xyz"), "frame 1"),
        (missing("K"), "frame 1"),
        (broken("xyz", None), "frame 1"),
        (broken("xyz", "text"), "frame 1"),
        (broken("xyz", np.zeros((21, 3))), "(21, 3)"),
        (broken("uv_vis", np.zeros((42, 2))), "(42, 2)"),
        (not_finite("xyz", np.nan), "not finite"),
        (not_finite("uv_vis", np.inf), "not finite"),
        (not_finite("K", -np.inf), "not finite"),
        ({0: entry(0), 2: entry(2)}, "0..1"),
        ({1: entry(1), 2: entry(2)}, "0..1"),
        ({"0": entry(0)}, "0..0"),
        ({0: [1, 2]}, "frame 0"),
        ({0: None}, "frame 0"),
        ({}, "no frames"),
        ([entry(0)], "no frames"),
        (b"", "annotation"),
        (b"<html>\n<body>\n", "annotation"),
        (pickle.dumps({0: entry(0)})[:-200], "annotation"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_broken_annotations_are_named_in_one_line(tmp_path, entries, says):
    path = write_annotations(tmp_path, entries)
    with refused(ValueError, path, says):
        load_annotations(path)


def test_more_frames_than_names_are_refused(root, monkeypatch):
    monkeypatch.setattr("handpose.data.rhd.MOST_FRAMES", 3)
    assert len(RHD(root, "evaluation")) == 3
    monkeypatch.setattr("handpose.data.rhd.MOST_FRAMES", 2)
    with refused(ValueError, root / "evaluation" / "anno_evaluation.pickle", "3 frames, more than the 2 that have names", "unpack"):
        RHD(root, "evaluation")


def test_another_split_is_refused(root):
    with refused(ValueError, "training", "evaluation", "test"):
        RHD(root, "test")


def test_a_missing_folder_is_named(root, tmp_path):
    with refused(FileNotFoundError, tmp_path / "nowhere"):
        RHD(tmp_path / "nowhere", "evaluation")
    with refused(FileNotFoundError, root / "training"):
        RHD(root, "training")
    for kind in ("color", "mask"):
        (root / "evaluation" / kind).rename(root / "evaluation" / "elsewhere")
        with refused(FileNotFoundError, root / "evaluation" / kind):
            RHD(root, "evaluation")
        (root / "evaluation" / "elsewhere").rename(root / "evaluation" / kind)


@pytest.mark.parametrize("kind", ["color", "mask"])
def test_a_missing_picture_is_named(root, kind):
    path = root / "evaluation" / kind / "00001.png"
    path.unlink()
    frames = RHD(root, "evaluation")
    assert frames[0].hand == "left"  # the others still load
    with refused(FileNotFoundError, path):
        frames[1]


@pytest.mark.parametrize("kind", ["color", "mask"])
@pytest.mark.parametrize("keep", [0.0, 0.2, 0.5, 0.8])
def test_a_truncated_picture_is_named(root, kind, keep):
    path = root / "evaluation" / kind / "00001.png"
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data))])
    with refused(ValueError, path):
        RHD(root, "evaluation")[1]


@pytest.mark.parametrize("kind", ["color", "mask"])
def test_a_damaged_picture_is_named(root, kind):
    path = root / "evaluation" / kind / "00001.png"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with refused(ValueError, path):
        RHD(root, "evaluation")[1]


@pytest.mark.parametrize("mode", ["I;16", "P", "RGBA", "1"])
def test_pictures_that_would_lose_values_are_refused(root, mode):
    path = root / "evaluation" / "mask" / "00000.png"
    picture = Image.fromarray(MASKS[0])
    picture = Image.fromarray(MASKS[0].astype(np.uint16) * 256) if mode == "I;16" else picture.convert(mode)
    picture.save(path)
    with refused(ValueError, path, "mode"):
        RHD(root, "evaluation")[0]


def test_a_mask_stored_as_grey_rgb_keeps_its_values(root):
    path = root / "evaluation" / "mask" / "00000.png"
    Image.fromarray(MASKS[0]).convert("RGB").save(path)
    assert RHD(root, "evaluation")[0].hand == "left"


def test_a_mask_of_another_size_is_refused(root):
    path = root / "evaluation" / "mask" / "00000.png"
    Image.fromarray(MASKS[0][:-1]).save(path)
    with refused(ValueError, "00000.png"):
        RHD(root, "evaluation")[0]


@pytest.mark.parametrize(("split", "bad"), [("training", (20500, 28140)), ("evaluation", (1012, 1324))])
def test_the_known_bad_frames_are_skipped_in_the_official_download_only(root, monkeypatch, split, bad):
    if split == "training":
        (root / "evaluation").rename(root / "training")
        (root / "training" / "anno_evaluation.pickle").rename(root / "training" / "anno_training.pickle")
    assert RHD(root, split).skipped == ()
    monkeypatch.setitem(OFFICIAL_COUNTS, split, 3)
    assert RHD(root, split).skipped == bad


def test_a_name_too_long_for_the_system_is_said_in_one_line(tmp_path):
    with pytest.raises(ValueError, match="can't be looked at"):
        RHD(tmp_path / ("a" * 300), "training")
