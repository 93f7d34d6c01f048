"""Everything that can be wrong in STB's layout: one line that names the file and says what to do, and nothing half-written."""

import io
import shutil
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from scipy.sparse import csc_array

from handpose.data import STB
from handpose.data.doctor import examine
from handpose.data.shards import write_shards
from tests.trees import assert_refused_everywhere, link_tree, refused, replace, stb_hands, write_mat, write_stb


@pytest.fixture(scope="module")
def healthy(tmp_path_factory):
    return write_stb(tmp_path_factory.mktemp("healthy") / "STB")


@pytest.fixture
def root(healthy, tmp_path):
    return link_tree(healthy, tmp_path / "STB")


def evaluation(root, camera="SK"):
    return lambda: STB(root, "evaluation", camera)


def picture(root):
    return root / "images" / "B1Random" / "SK_color_0.png"


def test_the_healthy_tree_is_healthy(root, tmp_path):
    assert examine(root, progress=False).healthy
    for split, count in (("training", 10), ("evaluation", 2)):
        shards = write_shards(STB(root, split), tmp_path / split, 8, workers=1, progress=False)
        assert len(shards) == count and shards.skipped == ()


@pytest.mark.parametrize("part", ["images", "images/B1Random", "labels", "labels/B1Random_SK.mat"])
@pytest.mark.parametrize("how", ["missing", "the other kind"])
def test_a_missing_part(root, tmp_path, part, how):
    path = root / part
    folder = path.is_dir()
    shutil.rmtree(path) if folder else path.unlink()
    if how == "the other kind":
        path.write_text("") if folder else path.mkdir()
    assert_refused_everywhere(evaluation(root), root, tmp_path / "made", "B1" if part != "labels" else "labels", kept=False)


def test_a_missing_root(tmp_path):
    assert_refused_everywhere(evaluation(tmp_path / "nowhere"), tmp_path / "nowhere", tmp_path / "made", "nowhere", kept=False)


def poked(value):
    hands = stb_hands("B1Random", "SK")
    hands[1, 3, 0] = value
    return hands


@pytest.mark.parametrize(
    "value, says",
    [
        (poked(np.nan), "frame 0"),
        (poked(np.inf), "frame 0"),
        (poked(1e30), "frame 0"),
        (-stb_hands("B1Random", "SK"), "behind the camera"),
        (np.zeros((3, 21, 1)), "behind the camera"),
        (stb_hands("B1Random", "SK")[:, :20], "(3, 20"),
        (stb_hands("B1Random", "SK", 3).transpose(2, 1, 0)[:2], "(2, 21, 3)"),
        (np.zeros((3, 21, 2, 2)), "(3, 21, 2, 2)"),
        (np.zeros((0, 0)), "(0, 0)"),
        ("text", "not numeric"),
        (np.array([[{"a": 1}]], object), "not numeric"),
        ({"a": 1}, "not numeric"),
        (csc_array(np.eye(4)), "not numeric"),
        (np.ones((3, 21, 1), bool), "not numeric"),
        (stb_hands("B1Random", "SK") * 1j, "not numeric"),
    ],
)
def test_wrong_labels(root, tmp_path, value, says):
    path = write_mat(root, "B1Random", "SK", value)
    with refused(ValueError, path, says):
        STB(root, "evaluation")
    assert_refused_everywhere(evaluation(root), root, tmp_path / "made", path, kept=False)


def matrix(dims, kind=6, payload=b"", name=b"handPara", compress=False, stated=None):
    """A MATLAB 5 file with one array whose header states ``dims`` and class ``kind``, whatever follows."""

    def element(code, data):
        return struct.pack("<II", code, len(data)) + data.ljust(-(-len(data) // 8) * 8, b"\0")

    body = element(6, struct.pack("<II", kind, 0)) + element(5, struct.pack(f"<{len(dims)}i", *dims)) + element(1, name)
    body += struct.pack("<II", 9, stated if stated is not None else len(payload)) + payload
    whole = struct.pack("<II", 14, len(body) if stated is None else len(body) + stated) + body
    if compress:
        packed = zlib.compress(whole)
        whole = struct.pack("<II", 15, len(packed)) + packed
    return b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM" + whole


def saved(value, **options):
    file = io.BytesIO()
    savemat(file, value, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    "data, says",
    [
        (b"", "MATLAB file"),
        (b"<html>\n<body>not found</body>\n" * 20, "can't be read"),
        ((b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM").ljust(600, b"\0"), "MATLAB 7.3"),
        (saved({"handPara": np.zeros((3, 21))}, format="4"), "version 5"),
        (saved({"hand": np.zeros((3, 21, 1))}), "no variable handPara"),
        (saved({"handPara": stb_hands("B1Random", "SK")})[:300], "can't be read"),
        (saved({"handPara": stb_hands("B1Random", "SK")}, do_compression=True)[:-30], "can't be read"),
        (matrix((3, 21, 2**30)), "more than any label file"),
        (matrix((2**31 - 1, 2**31 - 1)), "more than any label file"),
        (matrix((3, 21, -1)), "can't be read"),
        (matrix((3, 21, 50_000), stated=2**32 - 200), "can't be read"),
        (matrix((2**20, 2**10), kind=4), "not numeric"),  # text of a gigabyte
        (matrix((2**20, 2**10), kind=1), "not numeric"),  # cells
        (matrix((3, 21, 1), payload=bytes(2**29), compress=True), "larger than any label file"),
    ],
    ids=["empty", "html", "7.3", "4", "other name", "cut", "cut compressed", "many", "huge", "negative", "stated", "text", "cells", "bomb"],
)
def test_files_that_are_no_labels_or_promise_too_much(root, tmp_path, data, says):
    path = replace(root / "labels" / "B1Random_SK.mat", data)
    with refused(ValueError, path, says):
        STB(root, "evaluation")
    assert_refused_everywhere(evaluation(root), root, tmp_path / "made", path, kept=False)


def test_an_array_written_by_hand_is_read(root):
    """The maker of broken files above makes whole ones too."""
    hands = stb_hands("B1Random", "SK")
    for compress in (False, True):
        replace(root / "labels" / "B1Random_SK.mat", matrix((3, 21, 1), payload=hands.tobytes("F"), compress=compress))
        assert len(STB(root, "evaluation")) == 2


def png(image, **options):
    file = io.BytesIO()
    image.save(file, **options)
    return file.getvalue()


GREY = Image.linear_gradient("L").resize((640, 480))
PICTURES = {
    "truncated": lambda data: data[: len(data) // 2],
    "a bit flipped": lambda data: data[:60] + bytes([data[60] ^ 1]) + data[61:],
    "empty": lambda data: b"",
    "palette": lambda data: png(GREY.convert("P"), format="PNG"),
    "16 bit": lambda data: png(Image.fromarray(np.asarray(GREY).astype(np.uint16) * 256), format="PNG"),
    "alpha": lambda data: png(GREY.convert("RGBA"), format="PNG"),
    "CMYK": lambda data: png(GREY.convert("CMYK"), format="JPEG"),
    "square": lambda data: png(GREY.resize((640, 640)), format="PNG"),
    "turned": lambda data: png(GREY.resize((480, 640)), format="PNG"),
    "half": lambda data: png(GREY.resize((320, 240)), format="PNG"),
}


@pytest.mark.parametrize("how", PICTURES)
def test_wrong_pictures(root, tmp_path, how):
    replace(picture(root), PICTURES[how](picture(root).read_bytes()))
    assert_refused_everywhere(evaluation(root), root, tmp_path / "made", picture(root), kept=True)


@pytest.mark.parametrize("how", ["missing", "a folder", "a link to itself"])
def test_a_picture_that_is_no_file(root, tmp_path, how):
    path = picture(root)
    path.unlink()
    if how == "a folder":
        path.mkdir()
    elif how == "a link to itself":
        path.symlink_to(path)
    assert_refused_everywhere(evaluation(root), root, tmp_path / "made", path, kept=True)


def test_a_split_without_frames(root, tmp_path):
    for sequence in ("B1Counting", "B1Random"):
        write_mat(root, sequence, "SK", np.zeros((3, 21, 0)))
    assert_refused_everywhere(evaluation(root), root, tmp_path / "made", "labels", kept=False)


def test_more_labels_than_pictures(root, tmp_path):
    write_mat(root, "B1Random", "SK", stb_hands("B1Random", "SK", 3))
    assert_refused_everywhere(evaluation(root), root, tmp_path / "made", "SK_color_1.png", kept=True)


def moved(x=0.0, scale=1.0):
    hands = stb_hands("B1Random", "SK")
    middle = hands.mean(1, keepdims=True)
    return middle + scale * (hands - middle) + np.array([x, 0, 0])[:, None, None]


@pytest.mark.parametrize("value, note", [(moved(x=5000.0), "can't be cropped"), (moved(scale=0.0), "can't be cropped"),
                                         (moved(scale=0.001), "without size")])  # fmt: skip
def test_hands_that_are_none_are_left_out_and_said(root, tmp_path, value, note):
    write_mat(root, "B1Random", "SK", value)
    shards = write_shards(STB(root, "evaluation"), tmp_path / "shards", 8, workers=1, progress=False)
    assert shards.skipped == (1,) and shards.frame.tolist() == [0]
    report = examine(root, progress=False)
    assert report.healthy and report.usable["evaluation"] == 1
    assert any(note in line and "left out" in line for line in report.notes)
    write_mat(root, "B1Counting", "SK", value)
    with refused(ValueError, root, "no hand that can be cropped", "python -m handpose.data check"):
        write_shards(STB(root, "evaluation"), tmp_path / "none" / "shards", 8, workers=1, progress=False)
    assert list((tmp_path / "none").iterdir()) == []


def test_paths_are_those_of_the_layout(root):
    for split in ("training", "evaluation"):
        for camera in ("SK", "BB"):
            for path in STB(root, split, camera).paths:
                assert path.resolve().is_relative_to((root / "images").resolve()) and path.is_file()
