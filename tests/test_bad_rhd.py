"""Everything that can be wrong in RHD's layout: one line that names the file and says what to do, and nothing half-written."""

import io
import pickle
import shutil

import numpy as np
import pytest
from PIL import Image

from handpose.data import RHD, open_shards
from handpose.data.__main__ import main
from handpose.data.doctor import examine
from handpose.data.shards import write_shards
from tests.trees import (
    COUNTS,
    SIZE,
    assert_refused_everywhere,
    refused,
    replace,
    rhd_entry,
    write_labels,
    write_rhd,
)


@pytest.fixture
def root(tmp_path):
    return write_rhd(tmp_path / "RHD")


def training(root):
    return lambda: RHD(root, "training")


def png(root, kind="color", index=1):
    return root / "training" / kind / f"{index:05d}.png"


def entries(**changes):
    """The training labels with changed entries of frame 1; None drops one."""
    made = {index: rhd_entry([index, COUNTS["training"]]) for index in range(COUNTS["training"])}
    made[1] |= changes
    made[1] = {key: value for key, value in made[1].items() if value is not None}
    return made


def poked(key, value, place=(2, 1)):
    array = rhd_entry([1, COUNTS["training"]])[key].astype(np.float64)
    array[place] = value
    return entries(**{key: array})


def test_the_healthy_tree_is_healthy(root, tmp_path):
    assert examine(root, progress=False).healthy
    shards = write_shards(RHD(root, "training"), tmp_path / "shards", 8, workers=1, progress=False)
    assert len(shards) == COUNTS["training"] and shards.skipped == ()


@pytest.mark.parametrize("part", ["training", "training/color", "training/mask", "training/anno_training.pickle"])
@pytest.mark.parametrize("how", ["missing", "the other kind"])
def test_a_missing_part(root, tmp_path, part, how):
    path = root / part
    folder = path.is_dir()
    shutil.rmtree(path) if folder else path.unlink()
    if how == "the other kind":
        path.write_text("") if folder else path.mkdir()
    assert_refused_everywhere(training(root), root, tmp_path / "made", "training", kept=False)


def test_a_missing_root(tmp_path):
    assert_refused_everywhere(training(tmp_path / "nowhere"), tmp_path / "nowhere", tmp_path / "made", "nowhere", kept=False)


@pytest.mark.parametrize(
    "labels, says",
    [
        ({}, "no frames"),
        ([], "no frames"),
        (b"", "annotation"),
        (pickle.dumps(entries())[:-40], "annotation"),
        (b"<html>\n<body>not found</body>", "annotation"),
        (b"cos\nsystem\n(S'exit 1'\ntR.", "os.system, which no RHD annotation needs"),
        (b"\x80\x02}r\xff\xff\xff\x7f.", "no frames"),  # 8 bytes that ask for gigabytes
        (poked("xyz", np.nan), "frame 1"),
        (poked("xyz", 1e30), "frame 1"),
        (poked("uv_vis", np.inf), "frame 1"),
        (poked("uv_vis", 1e12), "frame 1"),
        (poked("K", np.nan, (0, 0)), "frame 1"),
        (poked("K", 0, (1, 1)), "camera matrix"),
        (poked("K", -300, (0, 0)), "camera matrix"),
        (poked("K", 2, (2, 2)), "camera matrix"),
        (entries(xyz=np.zeros((21, 3))), "(21, 3)"),
        (entries(uv_vis=np.zeros((42, 2))), "(42, 2)"),
        (entries(K=np.zeros(3)), "(3,)"),
        (entries(xyz=[[0, 0, 1]] * 21), "frame 1"),
        (entries(xyz=[[0, 0, "1"]] * 42), "frame 1"),
        (entries(xyz=[[0, 0, 10**400]] * 42), "frame 1"),
        (entries(xyz=np.full((42, 3), "1")), "annotation"),
        (entries(xyz=np.zeros((42, 3), complex)), "annotation"),
        (entries(xyz=np.zeros((42, 3), object)), "annotation"),
        (entries(xyz=np.zeros((42, 3), bool)), "frame 1"),
        (entries(xyz=None), "frame 1"),
        (entries(uv_vis=None), "frame 1"),
        (entries(K=None), "frame 1"),
        (entries() | {1: None}, "frame 1"),
        (entries() | {1: [1, 2, 3]}, "frame 1"),
        ({0: entries()[0], 2: entries()[2]}, "frame ids"),
        ({1: entries()[0], 2: entries()[2]}, "frame ids"),
        ({str(index): entry for index, entry in entries().items()}, "frame ids"),
        ({"../../../etc/passwd": entries()[0]}, "frame ids"),
        ({-1: entries()[0], 0: entries()[1]}, "frame ids"),
        ({0.5: entries()[0]}, "annotation"),
        (dict.fromkeys(range(100_001), entries()[0]), "100001 frames, more than the 100000 that have names"),
    ],
)
def test_wrong_labels(root, tmp_path, labels, says):
    path = write_labels(root, labels)
    with refused(ValueError, path, says):
        RHD(root, "training")
    assert_refused_everywhere(training(root), root, tmp_path / "made", path, kept=False)


def saved(image, **options):
    file = io.BytesIO()
    image.save(file, **options)
    return file.getvalue()


GREY = Image.fromarray(np.arange(SIZE * SIZE, dtype=np.uint32).reshape(SIZE, SIZE).astype(np.uint8))
PICTURES = {
    "truncated": lambda data: data[: len(data) // 2],
    "without its end": lambda data: data[:-12],
    "empty": lambda data: b"",
    "a bit flipped": lambda data: data[:60] + bytes([data[60] ^ 1]) + data[61:],
    "a page of text": lambda data: b"<html>\n<body>not found</body>\n",
    "palette": lambda data: saved(GREY.convert("P"), format="PNG"),
    "16 bit": lambda data: saved(Image.fromarray(np.asarray(GREY).astype(np.uint16) * 256), format="PNG"),
    "1 bit": lambda data: saved(GREY.convert("1"), format="PNG"),
    "4 bit": lambda data: saved(GREY.convert("P", palette=Image.Palette.ADAPTIVE, colors=16), format="PNG", bits=4),
    "alpha": lambda data: saved(GREY.convert("RGBA"), format="PNG"),
    "grey with alpha": lambda data: saved(GREY.convert("LA"), format="PNG"),
    "CMYK": lambda data: saved(GREY.convert("CMYK"), format="JPEG"),
    "a JPEG": lambda data: saved(GREY, format="JPEG"),
    "another size": lambda data: saved(GREY.resize((SIZE, SIZE // 2)), format="PNG"),
    "a larger size": lambda data: saved(GREY.resize((2 * SIZE, 2 * SIZE)), format="PNG"),
}


@pytest.mark.parametrize("kind", ["color", "mask"])
@pytest.mark.parametrize("how", PICTURES)
def test_wrong_pictures(root, tmp_path, kind, how):
    path = png(root, kind)
    replace(path, PICTURES[how](path.read_bytes()))
    assert_refused_everywhere(training(root), root, tmp_path / "made", "00001.png", kept=True)


@pytest.mark.parametrize("kind", ["color", "mask"])
@pytest.mark.parametrize("how", ["missing", "a folder", "a link to itself"])
def test_a_picture_that_is_no_file(root, tmp_path, kind, how):
    path = png(root, kind)
    path.unlink()
    if how == "a folder":
        path.mkdir()
    elif how == "a link to itself":
        path.symlink_to(path)
    assert_refused_everywhere(training(root), root, tmp_path / "made", path, kept=True)


def test_both_pictures_of_another_size(root, tmp_path):
    for kind in ("color", "mask"):
        replace(png(root, kind), saved(GREY.resize((64, 64)), format="PNG"))
    with refused(ValueError, png(root), "64 x 64", f"{SIZE} x {SIZE}"):
        RHD(root, "training")[1]
    assert_refused_everywhere(training(root), root, tmp_path / "made", png(root), kept=True)


def test_a_coloured_mask_is_refused_and_grey_pictures_are_converted(root):
    replace(png(root, "mask"), saved(Image.fromarray(np.random.default_rng(0).integers(0, 34, (SIZE, SIZE, 3), np.uint8)), format="PNG"))
    with refused(ValueError, png(root, "mask"), "grey"):
        RHD(root, "training")[1]
    replace(png(root, "color", 0), saved(GREY, format="PNG"))
    image = RHD(root, "training")[0].image
    np.testing.assert_array_equal(image, np.repeat(np.asarray(GREY)[..., None], 3, 2))


def outside(entry):
    entry["uv_vis"][:, :2] += 5000


def one_point(entry):
    entry["uv_vis"][:, :2] = 20


def without_size(entry):
    entry["xyz"][:] = entry["xyz"][0]


def giant(entry):
    entry["xyz"][12, 0] = entry["xyz"][33, 0] = 50


def behind(entry):
    entry["xyz"][:, 2] -= 5


def unseen(entry):
    entry["uv_vis"][:, 2] = 0


@pytest.mark.parametrize("change, note", [(outside, "can't be cropped"), (one_point, "can't be cropped"), (without_size, "without size"),
                                          (giant, "without size"), (behind, "behind the camera")])  # fmt: skip
def test_hands_that_are_none_are_left_out_and_said(root, tmp_path, change, note):
    labels = entries()
    change(labels[1])
    write_labels(root, labels)
    shards = write_shards(RHD(root, "training"), tmp_path / "shards", 8, workers=1, progress=False)
    assert shards.skipped == (1,) and shards.frame.tolist() == [0, 2]
    report = examine(root, progress=False)
    assert report.healthy and report.usable["training"] == 2
    assert any(note in line and "left out" in line for line in report.notes)
    for entry in labels.values():
        change(entry)
    write_labels(root, labels)
    with refused(ValueError, "training", "no hand that can be cropped", "python -m handpose.data check"):
        write_shards(RHD(root, "training"), tmp_path / "none" / "shards", 8, workers=1, progress=False)
    assert list((tmp_path / "none").iterdir()) == []
    assert not examine(root, progress=False).healthy


def test_a_hand_without_visible_joint_and_a_mask_without_a_hand_are_kept_and_said(root, tmp_path):
    labels = entries()
    unseen(labels[1])
    write_labels(root, labels)
    replace(png(root, "mask", 0), saved(Image.new("L", (SIZE, SIZE), 1), format="PNG"))
    frames = RHD(root, "training")
    assert not frames[1].visible.any() and frames[0].hand == "right"
    shards = write_shards(frames, tmp_path / "shards", 8, workers=1, progress=False)
    assert shards.skipped == () and not shards.visible[1].any() and not shards.left[0]
    notes = examine(root, progress=False).notes
    assert any("1 frames show no joint of their hand" in note for note in notes)
    assert any("1 frames have a mask without a hand: taken as a right one" in note for note in notes)


def test_no_path_leaves_the_root(root, monkeypatch):
    """Whatever the labels say, the only files opened are those of the layout."""
    opened = []

    def read(path, mode):
        opened.append(path)
        return np.zeros((SIZE, SIZE, 3) if mode == "RGB" else (SIZE, SIZE), np.uint8)

    monkeypatch.setattr("handpose.data.rhd.read_image", read)
    for split, count in COUNTS.items():
        frames = RHD(root, split)
        for index in (*range(count), -1):
            frames[index]
        for index in ("../../x", 1.5, None):
            with pytest.raises(TypeError):
                frames[index]
    assert all(path.resolve().is_relative_to(root.resolve()) and path.is_file() for path in opened)


def test_open_shards_refuses_what_a_broken_write_left(root, tmp_path):
    png(root).unlink()
    with refused(ValueError, "1 of 3 frames can't be read", png(root), "goes on where it stopped", f"check {root}"):
        write_shards(RHD(root, "training"), tmp_path / "shards", 8, workers=1, progress=False)
    for left in tmp_path.glob("shards*"):
        with refused(FileNotFoundError, left, "write_shards"):
            open_shards(left)


def test_the_doctor_names_the_first_broken_files_or_all_of_them(root, capsys):
    paths = [png(root, kind, index) for kind in ("color", "mask") for index in range(COUNTS["training"])]
    for path in paths[1:]:
        path.unlink()
    replace(paths[0], b"")
    assert main(["check", str(root)]) == 1
    text = capsys.readouterr().out
    assert sum(str(path) in text for path in paths) == 3 and "2 more files like these (--all names them)" in text
    assert main(["check", str(root), "--all"]) == 1
    text = capsys.readouterr().out
    assert all(str(path) in text for path in paths[1:])
