"""The synthetic hands: RHD's layout to the byte, labels that agree with the pictures, disjoint splits."""

import csv
import dataclasses
import hashlib
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from handpose.data.frame import read_factors
from handpose.data.synthetic import (
    ACTIONS,
    JOINT_LIMITS,
    PEOPLE,
    WRIST_LIMITS,
    actions_of,
    draw_frame,
    draw_light,
    label,
    render,
    subjects_of,
    write_synthetic,
)
from handpose.data.synthetic import write as writer
from handpose.data.synthetic.anatomy import overlap, pose_joints
from handpose.data.synthetic.files import replace, whole_files
from handpose.skeleton import BONES, RHD_ORDER

SIZE, TRAINING, EVALUATION = 96, 20, 7


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_synthetic(
        tmp_path_factory.mktemp("made") / "hands",
        training=TRAINING,
        evaluation=EVALUATION,
        size=SIZE,
        workers=1,
    )


def labels_of(root, split):
    return pickle.loads((root / split / f"anno_{split}.pickle").read_bytes())


def picture(root, split, folder, index):
    with Image.open(root / split / folder / f"{index:05d}.png") as image:
        return np.asarray(image)


def table(root, split):
    with open(root / split / "factors.csv", newline="") as file:
        return list(csv.DictReader(file))


def digests(root):
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def each_frame(root):
    for split, count in (("training", TRAINING), ("evaluation", EVALUATION)):
        labels = labels_of(root, split)
        assert list(labels) == list(range(count))
        for index in range(count):
            yield split, index, labels[index]


def drawn_hand(mask):
    """hand3d's rule: the hand with more pixels, the right one when equal."""
    return "left" if ((mask > 1) & (mask < 18)).sum() > (mask > 17).sum() else "right"


def test_layout_and_types(root):
    for split, index, row in each_frame(root):
        assert sorted(row) == ["K", "uv_vis", "xyz"]
        assert {name: (value.shape, value.dtype) for name, value in row.items()} == {
            "xyz": ((42, 3), np.float32),
            "uv_vis": ((42, 3), np.float32),
            "K": ((3, 3), np.float32),
        }
        assert set(np.unique(row["uv_vis"][:, 2])) <= {0.0, 1.0}
        for folder, mode in (("color", "RGB"), ("mask", "L"), ("depth", "RGB")):
            with Image.open(root / split / folder / f"{index:05d}.png") as image:
                assert (image.mode, image.size) == (mode, (SIZE, SIZE))
        assert not picture(root, split, "depth", index)[..., 2].any()
    names = {path.name for path in (root / "training").iterdir()}
    assert names == {"color", "mask", "depth", "anno_training.pickle", "factors.csv"}


def test_a_lost_table_of_factors_comes_back_as_it_was(root, tmp_path):
    copy = shutil.copytree(root, tmp_path / "hands")
    (copy / "training" / "factors.csv").unlink()
    (copy / "evaluation" / "factors.csv").write_bytes(b"")
    write_synthetic(copy, training=TRAINING, evaluation=EVALUATION, size=SIZE, workers=1)
    for split in ("training", "evaluation"):
        assert (copy / split / "factors.csv").read_bytes() == (root / split / "factors.csv").read_bytes()


@pytest.mark.parametrize("damage", [
    lambda text: text[: len(text) // 2], lambda text: b"", lambda text: b"\x00\xff" * 40, lambda text: text.replace(b"frame", b"farme"),
])  # fmt: skip
def test_a_damaged_table_of_factors_is_said_in_one_line(root, tmp_path, damage):
    text = (root / "evaluation" / "factors.csv").read_bytes()
    assert list(read_factors(root / "evaluation", [2, 0])["subject"]) == [int(table(root, "evaluation")[line]["subject"]) for line in (2, 0)]
    assert read_factors(tmp_path, [0]) is None
    (tmp_path / "factors.csv").write_bytes(damage(text))
    with pytest.raises(ValueError, match="factors.csv is damaged .*: remove it and make the synthetic hands again") as error:
        read_factors(tmp_path, range(EVALUATION))
    assert "\n" not in str(error.value)


def test_labels_hold_only_arrays_and_plain_containers(root):
    class Plain(pickle.Unpickler):
        def find_class(self, module, name):
            assert module.split(".")[0] == "numpy", f"{module}.{name}"
            return super().find_class(module, name)

    with open(root / "training" / "anno_training.pickle", "rb") as file:
        Plain(file).load()


def test_joints_project_onto_their_pixels(root):
    for _, _, row in each_frame(root):
        image = row["xyz"].astype(float) @ row["K"].astype(float).T
        assert (image[:, 2] > 0).all()
        assert np.abs(image[:, :2] / image[:, 2:] - row["uv_vis"][:, :2]).max() < 0.1


def test_the_other_hand_is_out_of_sight(root):
    for split, index, row in each_frame(root):
        left = table(root, split)[index]["hand"] == "left"
        other = row["uv_vis"][21:] if left else row["uv_vis"][:21]
        assert not other[:, 2].any()
        outside = (other[:, :2] < 0) | (other[:, :2] > SIZE - 1)
        assert outside.any(1).all()


def test_mask_shows_the_drawn_hand_alone(root):
    seen = set()
    for split, index, _ in each_frame(root):
        mask, hand = picture(root, split, "mask", index), table(root, split)[index]["hand"]
        first = 2 if hand == "left" else 18
        assert set(np.unique(mask)) <= {0, 1, *range(first, first + 16)}
        assert (mask > 1).sum() > 0 and drawn_hand(mask) == hand
        seen.add(hand)
    assert seen == {"left", "right"}


def test_visible_joints_lie_in_the_flesh_of_the_hand(root):
    visible = 0
    for split, index, row in each_frame(root):
        depth = picture(root, split, "depth", index).astype(int)
        metres = (depth[..., 0] * 256 + depth[..., 1]) / 65535 * 5.0
        mask = picture(root, split, "mask", index)
        assert (metres[mask == 0] == 5.0).all() and (metres[mask > 0] < 4.0).all()
        for (u, v, shown), xyz in zip(row["uv_vis"], row["xyz"], strict=True):
            if shown:
                spot = int(np.floor(v)), int(np.floor(u))
                assert mask[spot] > 1
                assert -0.012 < xyz[2] - metres[spot] < 0.036  # metres of flesh in front of the joint
                visible += 1
    assert visible > 8 * (TRAINING + EVALUATION)


def test_fingertips_lie_under_their_own_parts():
    right = total = 0
    for index in range(30):
        frame = draw_frame(3, "training", index, SIZE)
        _, mask, depth = render(frame)
        _, uv, _, hand, visible = label(frame, mask, depth)
        for finger in range(5):
            joint = 4 + 4 * finger
            if visible[joint]:
                column, row = np.floor(uv[joint]).astype(int)
                total += 1
                right += mask[row, column] == (2 if hand == "left" else 18) + 3 * finger
    assert total > 40 and right / total > 0.9


def test_same_bytes_with_two_workers(root, tmp_path):
    again = write_synthetic(tmp_path / "two", training=TRAINING, evaluation=EVALUATION, size=SIZE, workers=2)
    assert digests(again) == digests(root)


def test_an_interrupted_write_goes_on(root, tmp_path, monkeypatch):
    whole, frames, target = writer._write_frame, [], tmp_path / "torn"

    def torn(folder, seed, split, index, size):
        if len(frames) == 18:
            raise RuntimeError("power cut")
        frames.append(index)
        return whole(folder, seed, split, index, size)

    arguments = dict(training=TRAINING, evaluation=EVALUATION, size=SIZE, workers=1)
    monkeypatch.setattr(writer, "_write_frame", torn)
    with pytest.raises(RuntimeError, match="power cut"):
        write_synthetic(target, **arguments)
    assert not (target / "training" / "anno_training.pickle").exists()
    frames.clear()
    monkeypatch.setattr(writer, "_write_frame", lambda *a: frames.append(a[3]) or whole(*a))
    write_synthetic(target, **arguments)
    assert len(frames) == TRAINING - writer.CHUNK + EVALUATION  # the first chunk is not drawn again
    assert digests(target) == digests(root)
    frames.clear()
    write_synthetic(target, **arguments)
    assert not frames


DAMAGES = {
    "empty": lambda rows: b"",
    "zeros": lambda rows: bytes(len(pickle.dumps(rows))),
    "truncated": lambda rows: pickle.dumps(rows)[:-9],
    "a row too few": lambda rows: pickle.dumps(rows[1:]),
    "no list": lambda rows: pickle.dumps(dict(enumerate(rows))),
}


def unfinished(root, target):
    """A copy of ``root`` whose evaluation set lacks its labels; the file of its one chunk's record, which is missing too."""
    folder = shutil.copytree(root, target) / "evaluation"
    (folder / "anno_evaluation.pickle").unlink()
    (folder / "chunks").mkdir()
    return folder / "chunks" / "00000.pickle"


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_record_is_drawn_again(root, tmp_path, how):
    record = unfinished(root, tmp_path / "hands")
    record.write_bytes(DAMAGES[how]([(row, {}) for row in labels_of(root, "evaluation").values()]))
    target = write_synthetic(tmp_path / "hands", training=TRAINING, evaluation=EVALUATION, size=SIZE, workers=1)
    assert digests(target) == digests(root)


def test_a_record_that_does_not_come_back_is_said(root, tmp_path, monkeypatch):
    record = unfinished(root, tmp_path / "hands")
    monkeypatch.setattr(writer, "_write_chunk", lambda *_: record.write_bytes(b""))
    with pytest.raises(ValueError, match="can't be read back: check the disk, then run this again") as error:
        write_synthetic(tmp_path / "hands", training=TRAINING, evaluation=EVALUATION, size=SIZE, workers=1)
    assert str(record.parent) in str(error.value) and "\n" not in str(error.value)


def test_lost_pictures_are_drawn_again_and_labels_stay(root, tmp_path, monkeypatch):
    target, drawn, whole = shutil.copytree(root, tmp_path / "hands"), [], writer._write_frame
    (target / "training" / "mask" / "00003.png").unlink()
    (target / "training" / "color" / "00019.png").write_bytes(b"")
    shutil.rmtree(target / "evaluation" / "depth")
    times = {path: path.stat().st_mtime_ns for path in target.glob("*/*.*")}
    monkeypatch.setattr(writer, "_write_frame", lambda *frame: drawn.append(frame[2:4]) or whole(*frame))
    write_synthetic(target, training=TRAINING, evaluation=EVALUATION, size=SIZE, workers=1)
    assert sorted(drawn) == [("evaluation", index) for index in range(EVALUATION)] + [("training", 3), ("training", 19)]
    assert digests(target) == digests(root)
    assert times == {path: path.stat().st_mtime_ns for path in target.glob("*/*.*")}


def test_two_writers_at_once_have_names_of_their_own(tmp_path):
    """The first takes its time: the second is done before it."""

    def slowly(partial):
        partial.write_text("slow")
        replace(tmp_path / "one", lambda other: other.write_text("quick"))
        assert (tmp_path / "one").read_text() == "quick"

    replace(tmp_path / "one", slowly)
    assert (tmp_path / "one").read_text() == "slow" and [path.name for path in tmp_path.iterdir()] == ["one"]


def test_what_a_killed_writer_left_goes_once_it_is_old(tmp_path):
    old, fresh = (tmp_path / f".{digit * 32}.00000.png" for digit in "01")
    for path in (old, fresh, tmp_path / "00001.png"):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    (tmp_path / "00002.png").touch()
    (tmp_path / "00003.png").symlink_to(tmp_path / "nowhere")
    assert whole_files(tmp_path) == {"00001.png"} and fresh.exists() and not old.exists()


def test_other_settings_and_other_content_are_refused(root, tmp_path):
    with pytest.raises(ValueError, match="seed=0.*another folder"):
        write_synthetic(root, training=TRAINING, evaluation=EVALUATION, size=SIZE, seed=1)
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="empty folder"):
        write_synthetic(tmp_path, training=1, evaluation=1, size=SIZE)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    "wrong",
    [
        dict(layout="coco"),
        dict(training=-1),
        dict(evaluation=-1),
        dict(size=31),
        dict(size=1025),
        dict(seed=-1),
        dict(workers=-1),
        dict(training=2.5),
        dict(training="2"),
        dict(evaluation=None),
        dict(size=32.5),
        dict(seed=0.5),
        dict(workers="2"),
    ],
)
def test_bad_arguments(tmp_path, wrong):
    with pytest.raises(ValueError) as error:
        write_synthetic(tmp_path / "none", **{"training": 1, "evaluation": 1, "size": SIZE, **wrong})
    assert "\n" not in str(error.value)
    assert not (tmp_path / "none").exists()


def test_a_root_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="lies below a file: choose another folder"):
        write_synthetic(tmp_path / "file" / "hands", training=1, size=SIZE)


def test_splits_share_neither_subjects_nor_actions(root):
    for parts, total, sizes in ((subjects_of, range(20), (16, 4)), (actions_of, ACTIONS, (31, 8))):
        training, evaluation = set(parts("training")), set(parts("evaluation"))
        assert not training & evaluation and training | evaluation == set(total)
        assert (len(training), len(evaluation)) == sizes
    for split in ("training", "evaluation"):
        for row in table(root, split):
            assert int(row["subject"]) in subjects_of(split) and row["action"] in actions_of(split)


@pytest.mark.parametrize("split", ["training", "evaluation"])
def test_angles_stay_inside_the_limits(split):
    deepest = []
    for index in range(400):
        frame = draw_frame(1, split, index, 320)
        assert (frame.pose >= JOINT_LIMITS[..., 0]).all() and (frame.pose <= JOINT_LIMITS[..., 1]).all()
        assert (frame.wrist >= WRIST_LIMITS[:, 0]).all() and (frame.wrist <= WRIST_LIMITS[:, 1]).all()
        deepest.append(overlap(PEOPLE[frame.subject], frame.pose))
    assert np.mean(np.array(deepest) > 5.0) < 0.05  # mm: fingers do not run through each other


def test_bones_keep_their_lengths():
    lengths = {}
    for index in range(120):
        frame = draw_frame(2, "training", index, 320)
        joints = frame.joints()
        lengths.setdefault(frame.subject, []).append(
            [np.linalg.norm(joints[b] - joints[a]) for a, b in BONES]
        )
        assert 34.0 <= np.linalg.norm(joints[10] - joints[9]) <= 48.0
    for bones in lengths.values():
        assert np.ptp(bones, axis=0).max() < 1e-6
    means = np.array([np.mean(bones, axis=0) for bones in lengths.values()])
    assert (
        np.ptp(means / means.sum(1, keepdims=True), axis=0).max() > 0.002
    )  # people differ in more than size


def test_flexion_bends_by_its_angle_towards_the_palm():
    straight, bent = np.zeros((5, 4)), np.zeros((5, 4))
    bent[1, 2] = 60.0
    joints, frames = pose_joints(PEOPLE[0], straight)
    moved, _ = pose_joints(PEOPLE[0], bent)
    bone, after = joints[7] - joints[6], moved[7] - moved[6]
    cosine = bone @ after / np.linalg.norm(bone) / np.linalg.norm(after)
    assert np.degrees(np.arccos(cosine)) == pytest.approx(60.0)
    assert after @ frames[1, 0, 2] < 0


def test_views_come_from_all_sides_but_behind_the_elbow():
    views = np.array([draw_frame(4, "training", index, 320).view()[0] for index in range(600)])
    assert np.abs(views[:, [0, 2]].mean(0)).max() < 0.1  # nor more often from one side of the hand
    assert 0.15 < views[:, 1].mean() < 0.4
    assert (views.max(0) > 0.9).all() and (views[:, [0, 2]].min(0) < -0.9).all()


def test_hands_have_rhds_sizes_and_places():
    spans, centres = [], []
    for index in range(300):
        frame = draw_frame(5, "training", index, 320)
        joints = frame.joints()
        uv = frame.focal * joints[:, :2] / joints[:, 2:] + 160.0
        spans.append(np.ptp(uv, axis=0).max())
        centres.append(uv.mean(0))
        assert 263.0 <= frame.focal <= 306.0
    assert np.quantile(spans, 0.02) > 30 and np.quantile(spans, 0.98) < 225
    assert np.quantile(spans, 0.75) > 1.6 * np.quantile(spans, 0.25)
    assert np.std(centres, axis=0).min() > 20


def test_factors_say_what_each_frame_was_made_of(root):
    for split, count in (("training", TRAINING), ("evaluation", EVALUATION)):
        rows = table(root, split)
        assert [int(row["frame"]) for row in rows] == list(range(count))
        for row in rows:
            assert None not in row.values() and "" not in row.values()
            frame = draw_frame(0, split, int(row["frame"]), SIZE)
            assert (row["action"], row["hand"], int(row["subject"])) == (
                frame.action,
                frame.hand,
                frame.subject,
            )
            assert int(row["background_seed"]) == frame.background_seed
            assert float(row["index_pip_flexion"]) == pytest.approx(frame.pose[1, 2], abs=1e-5)
            text = {"person", "action", "hand", "background"}
            assert all(np.isfinite(float(value)) for name, value in row.items() if name not in text)


def test_the_same_hand_under_another_light_and_background():
    frame = draw_frame(0, "training", 2, SIZE)
    colour, mask, depth = render(frame)
    repeat = render(frame)
    assert all(np.array_equal(a, b) for a, b in zip((colour, mask, depth), repeat, strict=True))
    behind = render(dataclasses.replace(frame, background_kind="leaves", background_seed=5))
    assert np.array_equal(behind[1], mask) and np.array_equal(behind[2], depth)
    inside = mask > 1
    inside[1:-1, 1:-1] &= inside[:-2, 1:-1] & inside[2:, 1:-1] & inside[1:-1, :-2] & inside[1:-1, 2:]
    assert (behind[0] == colour)[inside].mean() > 0.97  # some pixels between the fingers show both
    assert np.abs(behind[0][mask == 0].astype(int) - colour[mask == 0]).mean() > 5
    lit = render(dataclasses.replace(frame, light=draw_light(np.random.default_rng(8))))
    assert np.array_equal(lit[1], mask) and np.array_equal(lit[2], depth)
    assert np.abs(lit[0][inside].astype(int) - colour[inside]).mean() > 5


def test_order_of_the_joints(root):
    frame = draw_frame(0, "training", 0, SIZE)
    first = 0 if frame.hand == "left" else 21
    xyz = labels_of(root, "training")[0]["xyz"][first : first + 21]
    assert np.allclose(xyz[RHD_ORDER] * 1000.0, frame.joints(), atol=1e-3)


def test_seed_split_and_index_each_change_the_frame():
    which = (0, "training", 0), (1, "training", 0), (0, "training", 1), (0, "evaluation", 0)
    drawn = [draw_frame(*one, SIZE) for one in which]
    assert len({frame.phase for frame in drawn}) == 4
    again, larger = draw_frame(0, "training", 0, SIZE), draw_frame(0, "training", 0, 2 * SIZE)
    assert np.array_equal(again.joints(), drawn[0].joints())
    assert np.allclose(larger.joints(), drawn[0].joints())


def test_set_up_compiles_and_leaves_no_hands_behind(tmp_path, monkeypatch):
    from handpose.data.synthetic import compiled, kernels

    monkeypatch.setattr(compiled.tempfile, "tempdir", str(tmp_path))
    compiled.main([])
    assert list(tmp_path.iterdir()) == []
    assert list((kernels.HERE / "__pycache__").glob("picture.*.nbc")) and list((kernels.HERE / "__pycache__").glob("paint.*.nbc"))
    assert list((kernels.HERE.parent / "__pycache__").glob("resample.*.nbc"))


def test_compiled_kernels_go_when_a_source_changes(tmp_path):
    from handpose.data.synthetic.kernels import drop_stale

    (tmp_path / "a.py").write_text("one")
    drop_stale(tmp_path)
    kernel = tmp_path / "__pycache__" / "a.nbi"
    kernel.write_bytes(b"machine code")
    drop_stale(tmp_path)
    assert kernel.exists()
    (tmp_path / "a.py").write_text("two")
    drop_stale(tmp_path)
    assert not kernel.exists()


KERNEL = """
from numba import njit
{first}

@njit(cache=True)
def {name}():
    return {value}
"""


def tiny_package(folder):
    """The module that looks after kernels, in a package of two files, of which one calls a kernel of the other."""
    from handpose.data.synthetic import kernels

    folder.mkdir()
    shutil.copy(kernels.__file__, folder / "kernels.py")
    (folder / "__init__.py").write_text("from . import kernels")
    (folder / "caller.py").write_text(KERNEL.format(first="from .callee import inner", name="outer", value="inner()"))
    write_callee(folder, 1)
    return folder


def write_callee(folder, value):
    (folder / "callee.py").write_text(KERNEL.format(first="", name="inner", value=value))


def call_kernel(package, shown="len(outer.stats.cache_hits)", **places):
    """What the kernel gives, how often it was found compiled, and the folder that Numba was told."""
    own = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    places |= {"PYTHONPATH": str(package.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    code = f"from hands.caller import outer; import os; print(outer(), {shown}, os.environ.get('NUMBA_CACHE_DIR'))"
    done = subprocess.run([sys.executable, "-c", code], env=own | places, cwd=package.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    value, hits, place = done.stdout.split()
    return int(value), int(hits), place


@pytest.mark.parametrize("where", ["beside the sources", "where the user says", "in the user's cache"])
def test_no_kernel_runs_old_machine_code_of_another_file(tmp_path, where):
    package, cache = tiny_package(tmp_path / "hands"), tmp_path / "cache"
    places = {"HOME": str(cache), "XDG_CACHE_HOME": str(cache)}
    if where == "where the user says":
        places["NUMBA_CACHE_DIR"] = str(cache)
    if where == "in the user's cache":
        (package / "__pycache__").touch()  # a file, where even root can make no folder
    told = []
    for value in (1, 2):
        write_callee(package, value)
        found, hits, place = call_kernel(package, **places)
        assert (found, hits) == (value, 0)
        below = places if place == "None" else places | {"NUMBA_CACHE_DIR": place}  # of a process that it starts
        assert call_kernel(package, **places) == call_kernel(package, **below) == (value, 1, place)
        told.append(place)
    if where == "beside the sources":
        assert told == ["None", "None"]
    else:
        assert told[0] != told[1] and all(Path(place).is_relative_to(cache) for place in told)


def test_kernels_that_are_not_compiled_need_no_place(tmp_path):
    places = {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "NUMBA_DISABLE_JIT": "1"}
    assert call_kernel(tiny_package(tmp_path / "hands"), shown="0", **places) == (1, 0, str(tmp_path / "cache"))


def test_kernels_find_a_place_where_neither_package_nor_home_can_be_written(tmp_path):
    """A file stands where Numba would make its folders: even root can't write there."""
    (tmp_path / "temporary").mkdir()
    package = Path(writer.__file__).parents[2]
    shutil.copytree(package, tmp_path / "handpose", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "handpose" / "data" / "synthetic" / "__pycache__").touch()
    nowhere = str(tmp_path / "handpose" / "__init__.py" / "home")
    places = {"PYTHONPATH": str(tmp_path), "HOME": nowhere, "XDG_CACHE_HOME": nowhere, "TMPDIR": str(tmp_path / "temporary")}
    code = "import handpose.data, os; print(handpose.__file__); print(os.environ['NUMBA_CACHE_DIR'])"
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | places, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    where, folder = map(Path, done.stdout.splitlines())
    assert where.is_relative_to(tmp_path) and folder.parent == tmp_path / "temporary" and folder.stat().st_mode & 0o077 == 0
