"""The hands that the page of datasets explains things on, and its figures."""

import dataclasses

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from handpose import examples, figures_data
from handpose.conventions import CONVENTIONS, with_palm
from handpose.data import RHD, STB
from handpose.data.stb import SEQUENCES, extrapolate_wrist
from handpose.data.synthetic.scene import draw_frame
from handpose.geometry import crop_box, project


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def roots(output):
    counts = dict(examples.COUNTS)
    examples.COUNTS["rhd"] = 6
    yield {layout: examples.dataset_root(layout, output_dir=output) for layout in ("rhd", "stb")}
    examples.COUNTS.update(counts)


@pytest.fixture(scope="module")
def hand():
    return examples.open_hand(160)


def test_frames_are_rendered_once_and_real_ones_are_taken_as_they_are(roots, output):
    assert roots["rhd"].parent == roots["stb"].parent == output / "data"
    written = (roots["rhd"] / "synthetic.json").stat().st_mtime_ns
    assert examples.dataset_root("rhd", "stb", "elsewhere", output) == roots["rhd"]
    assert (roots["rhd"] / "synthetic.json").stat().st_mtime_ns == written
    assert str(examples.dataset_root("stb", "stb", "elsewhere", output)) == "elsewhere"


@pytest.mark.parametrize("arguments, words", [
    (("coco",), 'layout must be "rhd" or "stb", got \'coco\''),
    (("rhd", "coco"), "no dataset 'coco'; choose from synthetic, rhd, stb"),
    (("stb", "stb"), 'dataset "stb" needs data_root: the folder where you unpacked it'),
])  # fmt: skip
def test_bad_names_are_refused(arguments, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        examples.dataset_root(*arguments, output_dir=tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_rhd_holds(roots):
    pictures, frame = examples.rhd_pictures(roots["rhd"], 2), RHD(roots["rhd"], "evaluation")[2]
    titles = list(pictures)
    assert frame.hand in titles[1] and np.array_equal(pictures[titles[1]][1], frame.uv)
    ids = pictures["mask: part ids"][0]
    u, v = frame.uv[frame.visible][-1].astype(int)
    inside = np.isfinite(ids)
    assert 2 <= np.nanmin(ids) and np.nanmax(ids) <= 33 and inside.any() and not inside.all()
    assert np.isfinite(pictures["depth"][0][inside]).all()
    assert abs(pictures["depth"][0][v, u] - frame.xyz[frame.visible][-1, 2]) < 60


def test_labels_of_stb_lie_on_the_hand_only_where_they_were_moved(roots):
    pictures = examples.stb_pictures(roots["stb"], 1)
    right, wrong = pictures["SK_color, moved"][1], pictures["SK_color, not moved: wrong"][1]
    np.testing.assert_allclose(right, STB(roots["stb"], "evaluation")[1].uv)
    assert np.linalg.norm(right - wrong, axis=1).min() > 10
    depth, uv = pictures["SK_depth"]
    on_hand = [np.isfinite(depth[int(v), int(u)]) for u, v in uv]
    assert np.mean(on_hand) > 0.9
    left, other = pictures["BB_left"][1], pictures["BB_right"][1]
    assert (left[:, 0] - other[:, 0] > 20).all() and np.allclose(left[:, 1], other[:, 1], atol=0.01)


def test_the_open_hand_is_open_and_in_the_middle(hand):
    frame, mask = hand
    assert frame.image.shape == (160, 160, 3) and mask.shape == (160, 160) and frame.visible.all()
    np.testing.assert_allclose(project(frame.xyz, frame.K), frame.uv, atol=1e-3)
    assert frame.uv.min() > 10 and frame.uv.max() < 150
    tips = frame.uv[[4, 8, 12, 16, 20]]
    assert (np.diff(tips[:, 0]) > 5).all() and (tips[1:, 1] < frame.uv[9, 1]).all()  # thumb left, fingers up
    assert (mask[frame.uv[:, 1].astype(int), frame.uv[:, 0].astype(int)] > 0).all()


def test_true_wrists_of_stb_come_from_both_sequences():
    poses = examples.stb_truth(7)
    assert poses.shape == (7, 21, 3) and len(SEQUENCES["evaluation"]) == 2
    assert len(np.unique(poses[:, 8].round(3), axis=0)) == 7
    np.testing.assert_allclose(extrapolate_wrist(with_palm(poses)), poses[:, 0])


def frame_at(u, v, index=0):
    """A small frame whose box has its middle at (u, v): the hand of an evaluation frame, moved, on a grey picture."""
    drawn = draw_frame(0, "evaluation", index, 128)
    K, xyz = drawn.camera(), drawn.joints()
    for _ in range(20):
        centre, _ = crop_box(project(xyz, K))
        xyz[:, :2] += (np.array([u, v]) - centre) * xyz[:, 2].mean() / K[0, 0]
    return examples.Frame(np.full((128, 128, 3), 128, np.uint8), xyz, project(xyz, K), K, drawn.hand, np.ones(21, bool))


def test_the_angle_is_that_of_the_ray_through_the_boxs_middle():
    frame = frame_at(64, 64)
    assert examples.view_angle(frame) == pytest.approx(0, abs=0.1)
    frame = frame_at(110, 64)
    assert examples.view_angle(frame) == pytest.approx(np.degrees(np.arctan(46 / frame.K[0, 0])), abs=0.2)


def test_the_farthest_come_first_and_those_outside_not_at_all():
    frames = [frame_at(64, 64), frame_at(100, 100), frame_at(80, 64), frame_at(300, 64)]
    found = examples.at_the_edge(frames, 2)
    assert [id(one) for one in found] == [id(frames[1]), id(frames[2])]
    assert len(examples.at_the_edge(frames)) == 3
    assert examples.at_the_edge(frames[3:]) == frames[3:]  # there are no others


def test_a_turned_pose_fits_the_picture_better():
    frame = frame_at(112, 20, 3)
    one = examples.corrected(frame, size=128)
    centre, side = crop_box(frame.uv)
    seen = (frame.uv - centre) * 128 / side + 64
    before, after = (np.linalg.norm(one[name] - seen, axis=1).mean() for name in ("before", "after"))
    assert after < before
    assert one["crop"].shape == one["turned"].shape == (128, 128, 3) and one["box"][2] == side
    palm = 0.5 * (one["after"][0] + one["after"][9])
    np.testing.assert_allclose(0.5 * (one["before"][0] + one["before"][9]), palm)
    wrist = examples.corrected(frame, root="wrist", size=128)
    np.testing.assert_allclose(wrist["before"][0], seen[0], atol=1e-6)


def test_in_the_middle_nothing_is_turned():
    one = examples.corrected(frame_at(64, 64))
    np.testing.assert_allclose(one["before"], one["after"], atol=0.5)
    np.testing.assert_allclose(one["after"], one["after_turned"], atol=2)


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_pose_turns_with_the_picture(side):
    """A white dot on each joint's place, one at a time, ends where the pose says."""
    frame = dataclasses.replace(frame_at(64, 64), hand=side)
    changes = [(0, False), (40, False), (0, True), (-30, True)]
    _, plain = examples.augmented(frame, [(0, False)], 128)
    centre, box = crop_box(frame.uv)
    for joint in (4, 20):
        image = np.zeros_like(frame.image)
        u, v = frame.uv[joint].astype(int)
        image[v - 1 : v + 2, u - 1 : u + 2] = 255
        pictures, joints = examples.augmented(dataclasses.replace(frame, image=image), changes, 128)
        seen = [np.array(np.unravel_index(picture[..., 0].argmax(), (128, 128)))[::-1] + 0.5 for picture in pictures]
        expected = (frame.uv[joint] - centre) * 128 / box * [-1 if side == "left" else 1, 1] + 64
        np.testing.assert_allclose(seen[0], expected, atol=5)
        for place, moved in zip(seen, joints):
            # without perspective the pose lies a little beside the picture, by as much in every change
            shift = np.linalg.norm(moved[joint] - 64) - np.linalg.norm(plain[0][joint] - 64)
            assert shift == pytest.approx(0, abs=1e-3)
            assert np.linalg.norm(place - moved[joint]) < np.linalg.norm(seen[0] - joints[0][joint]) + 5


def test_picture_row(hand):
    frame, _ = hand
    figure = figures_data.picture_row({"a": (frame.image, None), "b": (frame.image, frame.uv)}, around=3.0)
    whole, near = figure.axes
    assert [axes.get_title() for axes in figure.axes] == ["a", "b"]
    assert np.ptp(whole.get_xlim()) == 160 and np.ptp(near.get_xlim()) == pytest.approx(crop_box(frame.uv, 3.0)[1])


def test_joint_orders_show_every_number_once(hand):
    frame, mask = hand
    figure = figures_data.joint_orders(frame.image, mask, frame.uv)
    assert len(figure.axes) == 4
    texts = [[text.get_text() for text in axes.texts] for axes in figure.axes]
    for numbers in (texts[0], texts[2], texts[3]):
        assert sorted(map(int, numbers)) == list(range(21))
    assert texts[1][8] == "5 (26)"  # the index finger's tip
    assert texts[3] == [str(number) for number in CONVENTIONS["MANO"].order]
    places = [np.array([text.get_position() for text in axes.texts]) for axes in figure.axes]
    np.testing.assert_allclose(places[2][0], 0.5 * (frame.uv[0] + frame.uv[13]))  # STB's palm, as rendered
    np.testing.assert_allclose(places[3], frame.uv)


def test_numbers_do_not_overlap():
    frame, mask = examples.open_hand()
    figure = figures_data.joint_orders(frame.image, mask, frame.uv)
    figure.canvas.draw()
    for axes in figure.axes:
        boxes = [text.get_bbox_patch().get_window_extent() for text in axes.texts]
        assert not any(one.overlaps(other) for number, one in enumerate(boxes) for other in boxes[:number])
        assert all(axes.get_window_extent().contains(*box.p0) and axes.get_window_extent().contains(*box.p1) for box in boxes)


def test_roots_on_the_hand(hand):
    frame, mask = hand
    left, right = figures_data.roots_on_hand(frame.image, mask, frame.xyz, frame.K).axes
    assert len(left.get_legend().get_texts()) == 6 and len(right.get_legend().get_texts()) == 6
    marks = {line.get_label(): line.get_xydata() for line in right.lines}
    np.testing.assert_allclose(marks["from ring MCP, 2.0"], marks["true wrist"], atol=1e-6)
    assert np.linalg.norm(marks["from middle MCP, 2.2"] - marks["true wrist"]) > 3


def test_figures_of_view_and_augmentation():
    frames = [frame_at(100, 30), frame_at(40, 90)]
    figure = figures_data.view_correction([frame.image for frame in frames], [examples.corrected(frame, size=64) for frame in frames])
    assert len(figure.axes) == 8 and "degrees off the axis" in figure.axes[0].get_title()
    (alone,), _ = examples.augmented(frames[0], [(0, False)], 64)
    pictures, joints = examples.augmented(frames[0], [(0, False), (20, True)], 64)
    assert np.array_equal(alone, pictures[0])  # whatever else is made of it
    figure = figures_data.augmentations(pictures, joints, ["as it is", "changed"])
    assert [axes.get_title() for axes in figure.axes] == ["as it is", "changed", "", ""]
    assert [len(axes.lines) for axes in figure.axes] == [0, 0, 20, 20]


def test_protocol_dots_span_the_seeds_and_mark_what_is_unknown():
    lines = [("a", "baseline", 0, 20.0, 0.7), ("a", "baseline", 1, 30.0, 0.6), ("b", "baseline", 0, np.nan, np.nan),
             ("b", "baseline", 1, np.nan, np.nan), ("a", "mean pose", 0, 60.0, 0.1), ("b", "mean pose", 0, 50.0, np.nan)]  # fmt: skip
    figure = figures_data.protocol_dots(pd.DataFrame(lines, columns=["protocol", "row", "seed", "mean", "auc"]))
    left, right = figure.axes
    dots = {line.get_label(): line.get_xdata() for line in left.lines}
    np.testing.assert_array_equal(dots["baseline"], [25, np.nan])
    np.testing.assert_array_equal(dots["mean pose"], [60, 50])
    spans = [segment[:, 0].tolist() for collection in left.collections for segment in collection.get_segments() if len(segment)]
    assert [20.0, 30.0] in spans
    assert [text.get_text() for text in left.texts] == ["?"]
    assert [label.get_text() for label in left.get_yticklabels()] == ["a", "b"]
