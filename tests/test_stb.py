"""The STB loader: cameras, joint order, splits, and one clear line for everything that can be wrong on disk."""

import contextlib

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from handpose.data.shards import write_shards
from handpose.data.stb import SEQUENCES, STB, decode_depth, depth_to_colour, load_labels
from handpose.skeleton import JOINTS

FRAMES = 2
#: STB's 21 joints by name: palm first, then from the little finger to the thumb, each from base to tip.
SOURCE = ["wrist", *(name for base in (17, 13, 9, 5, 1) for name in JOINTS[base : base + 4])]


def hands(sequence, kind, count=FRAMES):
    """Labels 3 x 21 x count, mm, a different hand for every file."""
    rng = np.random.default_rng([len(sequence), int(sequence[1]), kind == "BB"])
    return rng.normal(size=(3, 21, count)) * 40 + np.array([40.0, 0.0, 600.0])[:, None, None]


def write_labels(root, sequence, kind, value=None, **options):
    (root / "labels").mkdir(parents=True, exist_ok=True)
    path = root / "labels" / f"{sequence}_{kind}.mat"
    savemat(path, {"handPara": hands(sequence, kind) if value is None else value}, **options)
    return path


def picture(sequence, prefix, number, size=(640, 480)):
    value = 40 * int(sequence[1]) + 10 * number + {"BB_left": 0, "BB_right": 1, "SK_color": 2}[prefix]
    return Image.new("RGB", size, (value, len(sequence), 0))


def make(root, images="images", count=FRAMES):
    for sequence in (*SEQUENCES["evaluation"], *SEQUENCES["training"]):
        for kind in ("BB", "SK"):
            write_labels(root, sequence, kind, hands(sequence, kind, count))
        folder = root / images / sequence
        folder.mkdir(parents=True)
        for prefix in ("BB_left", "BB_right", "SK_color"):
            for number in range(count):
                picture(sequence, prefix, number).save(folder / f"{prefix}_{number}.png", compress_level=1)
    return root


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make(tmp_path_factory.mktemp("stb") / "STB")


@pytest.fixture
def evaluation(tmp_path):
    """Only the two evaluation sequences, to be damaged."""
    for sequence in SEQUENCES["evaluation"]:
        folder = tmp_path / "images" / sequence
        folder.mkdir(parents=True)
        write_labels(tmp_path, sequence, "SK")
        for number in range(FRAMES):
            picture(sequence, "SK_color", number).save(folder / f"SK_color_{number}.png")
    return tmp_path


@contextlib.contextmanager
def refused(kind, *parts):
    """The block ends in one line that names every part."""
    with pytest.raises(kind) as caught:
        yield
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert str(part) in message


def test_the_first_background_is_the_evaluation_split(dataset):
    assert SEQUENCES["evaluation"] == ("B1Counting", "B1Random")
    assert len(SEQUENCES["training"]) == 10 and not any(name.startswith("B1") for name in SEQUENCES["training"])
    assert len(STB(dataset, "evaluation")) == 2 * FRAMES
    assert len(STB(dataset, "training")) == 10 * FRAMES


def test_a_frame_has_the_fields_of_every_dataset(dataset):
    frames = STB(dataset, "evaluation")
    frame = frames[FRAMES + 1]  # B1Random, the second
    np.testing.assert_array_equal(frame.image, np.asarray(picture("B1Random", "SK_color", 1)))
    assert (frame.image.shape, frame.image.dtype) == ((480, 640, 3), np.uint8)
    assert (frame.xyz.dtype, frame.xyz.shape) == (np.float32, (21, 3))
    assert (frame.uv.dtype, frame.uv.shape) == (np.float32, (21, 2))
    assert (frame.K.dtype, frame.K.shape) == (np.float32, (3, 3))
    assert (frame.visible.dtype, frame.visible.shape) == (bool, (21,))
    assert frame.hand == "left" and frame.visible.all()
    assert frames.root_joint == "wrist" and frames.skipped == () and frames.split == "evaluation"
    np.testing.assert_array_equal(frames[-1].image, frame.image)
    assert len(list(frames)) == len(frames)
    with refused(IndexError, 4):
        frames[4]


def test_a_frame_that_is_changed_leaves_the_dataset_as_it_was(dataset):
    frames = STB(dataset, "evaluation")
    before, frame = frames.label_stamp(), frames[0]
    for labels in (frame.xyz, frame.uv, frame.K, frame.visible):
        labels[...] = 0
    assert frames.label_stamp() == before


@pytest.mark.parametrize("camera", ["SK", "BB_left", "BB_right", "BB"])
def test_labels_move_to_the_camera_in_canonical_order(dataset, camera):
    frames = STB(dataset, "evaluation", camera)
    views = {"BB": ["BB_left", "BB_right"], "SK": ["SK_color"]}.get(camera, [camera])
    assert len(frames) == 2 * FRAMES * len(views)
    index = 0
    for prefix in views:
        for sequence in SEQUENCES["evaluation"]:
            for number in range(FRAMES):
                frame = frames[index]
                np.testing.assert_array_equal(frame.image, np.asarray(picture(sequence, prefix, number)))
                source = hands(sequence, prefix[:2])[..., number].T
                for joint, name in enumerate(JOINTS):
                    x, y, z = source[SOURCE.index(name)]
                    fx, fy, u0, v0 = 822.79041, 822.79041, 318.47345, 250.31296
                    if prefix == "BB_right":
                        x -= 120.054
                    if prefix == "SK_color":  # the rounded matrix of the official text, colour to depth, undone
                        R = np.array([[0.999924, -0.003042, -0.011952], [0.002978, 0.999981, -0.005328],
                                      [0.011968, 0.005292, 0.999914]])  # fmt: skip
                        x, y, z = np.linalg.solve(R, np.array([x, y, z]) - [-24.0381, -0.4563, -1.2326])
                        fx, fy, u0, v0 = 607.92271, 607.88192, 314.78337, 236.42484
                    np.testing.assert_allclose(frame.xyz[joint], [x, y, z], atol=2e-3)
                    np.testing.assert_allclose(frame.uv[joint], [fx * x / z + u0, fy * y / z + v0], atol=5e-3)
                index += 1


def test_depth_to_colour_by_hand():
    np.testing.assert_allclose(depth_to_colour(np.array([0.0, 0.0, 500.0])), [30.036, 3.036, 500.900], atol=2e-3)


def test_official_joint_numbers():
    assert (SOURCE[0], SOURCE[1], SOURCE[5], SOURCE[9], SOURCE[16], SOURCE[17], SOURCE[20]) == (
        "wrist", "little_mcp", "ring_mcp", "middle_mcp", "index_tip", "thumb_cmc", "thumb_tip",
    )  # fmt: skip


def test_the_extrapolated_wrist_lies_beyond_the_palm(dataset):
    palm, wrist = STB(dataset, "evaluation"), STB(dataset, "evaluation", wrist="extrapolated")
    ring = palm.xyz[:, JOINTS.index("ring_mcp")]
    np.testing.assert_allclose(0.5 * (wrist.xyz[:, 0] + ring), palm.xyz[:, 0], atol=1e-3)
    np.testing.assert_array_equal(wrist.xyz[:, 1:], palm.xyz[:, 1:])
    assert wrist.label_stamp() != palm.label_stamp()


def test_depth_by_hand():
    png = np.array([[[0, 0, 0], [255, 255, 0], [128, 2, 7], [0, 1, 0], [1, 0, 0]]], np.uint8)
    depth = decode_depth(png)
    assert depth.dtype == np.float32
    np.testing.assert_array_equal(depth, [[0, 65535, 640, 256, 1]])


def test_sequence_folders_directly_under_the_root(tmp_path, dataset):
    for name in ("labels", *SEQUENCES["evaluation"]):
        source = dataset / name if name == "labels" else dataset / "images" / name
        (tmp_path / name).symlink_to(source)
    assert STB(tmp_path, "evaluation").label_stamp() == STB(str(dataset), "evaluation").label_stamp()


def test_the_stamp_tells_cameras_apart(dataset):
    assert STB(dataset, "evaluation").label_stamp() == STB(dataset, "evaluation").label_stamp()
    assert len({STB(dataset, "training", camera).label_stamp() for camera in ("SK", "BB", "BB_left", "BB_right")}) == 4


def test_poses_in_shards_are_centred_on_the_palm_joint(dataset, tmp_path):
    shards = write_shards(STB(dataset, "evaluation"), tmp_path / "shards", 16, workers=1, progress=False)
    assert len(shards) == 2 * FRAMES and shards.left.all()
    np.testing.assert_allclose(shards.root, shards.target[:, 0])
    np.testing.assert_allclose(shards.pose[:, 0], 0, atol=1e-6)


@pytest.mark.parametrize("option", [dict(split="test"), dict(camera="left"), dict(camera=["SK"]), dict(wrist="middle")])
def test_other_options_are_refused(dataset, option):
    with refused(ValueError, next(iter(option)), next(iter(option.values()))):
        STB(dataset, **{"split": "evaluation", **option})


def test_missing_folders_and_labels_are_named(evaluation):
    with refused(FileNotFoundError, evaluation / "nowhere"):
        STB(evaluation / "nowhere", "evaluation")
    with refused(FileNotFoundError, evaluation / "images" / "B2Counting"):
        STB(evaluation, "training")
    with refused(FileNotFoundError, evaluation / "labels" / "B1Counting_BB.mat"):
        STB(evaluation, "evaluation", "BB")
    (evaluation / "images" / "B1Random").rename(evaluation / "elsewhere")
    with refused(FileNotFoundError, evaluation / "images" / "B1Random"):
        STB(evaluation, "evaluation")


def not_finite(value):
    array = hands("B1Random", "SK")
    array[1, 3, 1] = value
    return array


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (hands("B1Random", "SK")[:, :20], "(3, 20, 2)"),
        (hands("B1Random", "SK").transpose(2, 1, 0), "(2, 21, 3)"),
        (np.zeros((3, 21, 2, 1)) + 5, "(3, 21, 2"),
        (not_finite(np.nan), "frame 1"),
        (not_finite(-np.inf), "frame 1"),
        (not_finite(1e30), "frame 1"),
        (-hands("B1Random", "SK"), "behind the camera"),
        ("text", "not numeric"),
        (np.array([[{"a": 1}]], object), "not numeric"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_labels_are_named_in_one_line(evaluation, value, says):
    path = write_labels(evaluation, "B1Random", "SK", np.ones((3, 21, 2, 2)) if says == "(3, 21, 2" else value)
    with refused(ValueError, path, says):
        STB(evaluation, "evaluation")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "can't be read"),
        (b"<html>\n<body>\n" * 20, "can't be read"),
        ((b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM").ljust(600, b"\0"), "7.3"),
    ],
    ids=["empty", "html", "v7.3"],
)
def test_other_files_are_no_labels(evaluation, content, says):
    path = evaluation / "labels" / "B1Random_SK.mat"
    path.write_bytes(content)
    with refused(ValueError, path, says):
        STB(evaluation, "evaluation")


@pytest.mark.parametrize("keep", [0.3, 0.7, 0.95])
@pytest.mark.parametrize("compress", [False, True])
def test_truncated_labels_are_named(evaluation, keep, compress):
    path = write_labels(evaluation, "B1Random", "SK", do_compression=compress)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data))])
    with refused(ValueError, path):
        STB(evaluation, "evaluation")


def test_a_label_file_without_its_variable_is_named(evaluation):
    path = evaluation / "labels" / "B1Random_SK.mat"
    savemat(path, {"hand": hands("B1Random", "SK")})
    with refused(ValueError, path, "handPara"):
        STB(evaluation, "evaluation")


def test_a_single_frame_as_matlab_saves_it(evaluation):
    path = write_labels(evaluation, "B1Random", "SK", hands("B1Random", "SK")[..., 0])
    assert load_labels(path).shape == (1, 21, 3)


def test_a_split_without_frames_is_named(evaluation):
    for sequence in SEQUENCES["evaluation"]:
        write_labels(evaluation, sequence, "SK", np.zeros((3, 21, 0)))
    with refused(ValueError, "evaluation", "no frames"):
        STB(evaluation, "evaluation")


def test_broken_pictures_are_named(evaluation):
    frames = STB(evaluation, "evaluation")
    folder = evaluation / "images" / "B1Counting"
    data = (folder / "SK_color_0.png").read_bytes()
    (folder / "SK_color_0.png").write_bytes(data[: len(data) // 2])
    with refused(ValueError, folder / "SK_color_0.png"):
        frames[0]
    (folder / "SK_color_1.png").unlink()
    with refused(FileNotFoundError, folder / "SK_color_1.png"):
        frames[1]
    frames[2]  # the others still load


@pytest.mark.parametrize("size", [(640, 640), (480, 640), (320, 240)])
def test_a_picture_of_another_size_is_refused(evaluation, size):
    path = evaluation / "images" / "B1Counting" / "SK_color_0.png"
    picture("B1Counting", "SK_color", 0, size).save(path)
    with refused(ValueError, path, f"{size[0]} x {size[1]}", "640 x 480"):
        STB(evaluation, "evaluation")[0]


def test_a_name_too_long_for_the_system_is_said_in_one_line(tmp_path):
    with pytest.raises(ValueError, match="can't be looked at"):
        STB(tmp_path / ("a" * 300), "training")
