import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from handpose import figures, figures_pose
from handpose.metrics import auc, pck
from handpose.notebook import show, show_card
from handpose.skeleton import BONES

matplotlib.use("Agg")
POSE = np.random.default_rng(0).normal(size=(4, 21, 3)) * 40


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def test_skeleton_has_all_bones():
    axes = plt.figure().add_subplot()
    figures.draw_skeleton(axes, POSE[0, :, :2])
    assert len(axes.lines) == len(BONES)
    ends = {tuple(line.get_xdata()) for line in axes.lines}
    assert ends == {(POSE[0, parent, 0], POSE[0, child, 0]) for parent, child in BONES}


NOISE = np.random.default_rng(1).normal(size=POSE.shape)
SEEDS = [POSE + 5 * NOISE, POSE + 30 * NOISE]


def test_pck_figures_show_the_mean_and_the_span_of_the_seeds():
    thresholds = np.linspace(0, 50, 51)
    expected = np.stack([pck(predicted, POSE, thresholds) for predicted in SEEDS])
    still, turned = figures.pck_bands({"ours": SEEDS}, POSE), figures.interactive_pck_bands({"ours": SEEDS}, POSE)
    np.testing.assert_allclose(still.axes[0].lines[0].get_ydata(), expected.mean(0))
    band, line = turned.data
    np.testing.assert_allclose(line.y, expected.mean(0), atol=1e-4)
    np.testing.assert_allclose(band.y[:51], expected.max(0), atol=1e-4)
    np.testing.assert_allclose(band.y[51:], expected.min(0)[::-1], atol=1e-4)
    assert np.ptp(expected, axis=0).max() > 0.1
    area = still.axes[0].collections[0].get_paths()[0].vertices
    assert area[:, 1].max() == pytest.approx(expected.max()) and len(still.axes[0].collections) == 1


def test_a_click_switches_a_line_with_its_band():
    figure = figures.interactive_pck_bands({"ours": SEEDS, "mean pose": [POSE + 20 * NOISE]}, POSE)
    assert len(figure.data) == 3  # one seed alone has no band
    assert [trace.legendgroup for trace in figure.data[:2]] == [figure.data[1].name] * 2
    assert [trace.showlegend for trace in figure.data] == [False, None, None]
    assert figure.data[2].line.color == "#888888"


def test_pck_against_a_curve_is_the_difference_to_its_mean():
    curves = {"baseline": SEEDS, "ours": SEEDS[:1], "mean pose": [POSE * 0]}
    left, right = figures.pck_bands(curves, POSE, against="baseline").axes
    assert (len(left.lines), len(right.lines)) == (3, 2)
    np.testing.assert_allclose(right.lines[0].get_ydata(), 0, atol=1e-12)
    np.testing.assert_allclose(right.lines[1].get_ydata(), left.lines[1].get_ydata() - left.lines[0].get_ydata())


def test_many_lines_can_be_told_apart():
    assert len({figures.line_style(index) for index in range(24)}) == 24
    curves = {str(index): [POSE] for index in range(12)}
    styles = {(trace.line.color, trace.line.dash) for trace in figures.interactive_pck_bands(curves, POSE).data}
    assert len(styles) == 12
    drawn = figures.pck_bands(curves, POSE).axes[0].lines
    assert len({(line.get_color(), line.get_linestyle()) for line in drawn}) == 12


ERRORS = np.arange(42.0).reshape(2, 21)


def test_bars_are_the_mean_over_seeds():
    axes = figures.error_per_joint({"ours": ERRORS, "base": ERRORS[:1]}).axes[0]
    np.testing.assert_allclose([bar.get_height() for bar in axes.patches], np.arange(21) + 10.5)
    ticks = next(line for line in axes.lines if line.get_label() == "base")
    np.testing.assert_allclose(ticks.get_ydata(), np.arange(21))
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["ours", "base"]
    names = [label.get_text() for label in axes.get_xticklabels()]
    assert names[:5] == ["wrist", "thumb CMC", "thumb MCP", "thumb IP", "thumb tip"]
    fingers = figures.error_per_finger({"ours": ERRORS[:1]}).axes[0]
    np.testing.assert_allclose([bar.get_height() for bar in fingers.patches], [0, 2.5, 6.5, 10.5, 14.5, 18.5])


def test_error_map_writes_errors_and_colours_differences():
    table = pd.DataFrame([[10.0, 20.0], [9.0, 24.0]], ["baseline", "A"], ["wrist", "thumb_tip"])
    axes = figures.error_map(table, against="baseline").axes[0]
    assert [text.get_text() for text in axes.texts] == ["10.0", "20.0", "9.0", "24.0"]
    np.testing.assert_allclose(axes.images[0].get_array(), [[0, 0], [-1, 4]])
    blue, red = (axes.images[0].cmap(axes.images[0].norm(value)) for value in (-4, 4))
    assert blue[2] > blue[0] and red[0] > red[2]
    plain = figures.error_map(table, against="not there").axes[0].images[0].get_array()
    np.testing.assert_allclose(plain, table.to_numpy())


def test_poses_stand_on_their_pictures_where_the_pixels_are():
    images = [np.zeros((40, 60, 3), np.uint8)] * 2
    uv = np.random.default_rng(0).uniform(10, 30, (2, 21, 2))
    figure = figures.poses_on_pictures(images, {"true": uv, "ours": uv + 4}, ["a", "b"])
    assert len(figure.axes) == 4 and [axes.get_title() for axes in figure.axes] == ["a", "b", "", ""]
    dots = np.array(figure.axes[3].collections[0].get_offsets())
    np.testing.assert_allclose(dots, uv[1] + 4 - 0.5)
    for axes in figure.axes:  # the whole hand is inside, y points down
        (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
        dots = np.array(axes.collections[0].get_offsets())
        assert (dots >= [left, top]).all() and (dots <= [right, bottom]).all()


def test_a_prediction_that_is_wrong_altogether_leaves_the_true_hand_large():
    images, uv = [np.zeros((40, 60, 3), np.uint8)], np.random.default_rng(0).uniform(10, 30, (1, 21, 2))
    far = figures.poses_on_pictures(images, {"true": uv, "ours": uv + 900}, ["a"]).axes[0]
    near = figures.poses_on_pictures(images, {"true": uv, "ours": uv}, ["a"]).axes[0]
    assert np.ptp(far.get_xlim()) == pytest.approx(2 * np.ptp(near.get_xlim()))
    assert np.mean(far.get_xlim()) == pytest.approx(np.mean(near.get_xlim()))  # around the true hand
    wild = POSE.copy()
    wild[0, 8] += 5000
    scene = figures_pose.interactive_poses({"truth": POSE, "ours": wild}, list("abcd")).layout.scene
    calm = figures_pose.interactive_poses({"truth": POSE, "ours": POSE}, list("abcd")).layout.scene
    assert np.ptp(scene.xaxis.range) == pytest.approx(2 * np.ptp(calm.xaxis.range))


def test_interactive_poses_hold_every_hand_around_its_root():
    figure = figures_pose.interactive_poses({"truth": POSE, "ours": POSE + 7}, list("abcd"))
    assert len(figure.data) == 4 * 2 * 5
    assert sum(trace.visible for trace in figure.data) == 2 * 5
    np.testing.assert_allclose(figure.data[0].x, figure.data[5].x, atol=0.1)  # a shift of the whole hand is not seen
    steps = figure.layout.sliders[0].steps
    assert [sum(step.args[0]["visible"]) for step in steps] == [10] * 4
    assert all(scene.camera.up.y == -1 for scene in (figure.layout.scene, figure.layout.scene2))  # y points down
    for axis in "xyz":  # one cube for all, and every joint inside
        low, high = figure.layout.scene[f"{axis}axis"].range
        assert figure.layout.scene2[f"{axis}axis"].range == (low, high)
        assert all(low < np.min(trace[axis]) and np.max(trace[axis]) < high for trace in figure.data)


def test_training_curves_begin_after_the_warm_up():
    warm = [{"stage": "warmup", "phase": "warmup", "epoch": 0, "mepe": 90.0, "mse_xy": 1.0}] * 9
    own = [{"stage": "disentangle", "phase": "disentangle", "epoch": 0, "mepe": 40.0, "mse_rgb": 0.1}] * 2
    left, right = figures.training_curves(warm + own, warm + own).axes
    assert [line.get_label() for line in left.lines if not line.get_label().startswith("_")] == ["mse_rgb"]
    assert right.get_xlim() == (0.5, 2.5) and list(right.lines[0].get_ydata()) == [40.0, 40.0]
    assert len(figures.training_curves(warm).axes[1].lines[0].get_ydata()) == 9


def test_training_curves_mark_the_change_of_phase_and_draw_all_seeds():
    history = [
        {"stage": "s", "phase": phase, "epoch": 0, "mepe": 1.0, "mse_rgb": 0.5, "gradients": {"layer": 1.0}} for phase in "aab"
    ]
    figure = figures.training_curves(history)
    assert [line.get_xdata()[0] for line in figure.axes[1].lines[1:]] == [2.5]
    assert [text.get_text() for text in figure.axes[1].texts] == ["a", "b"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["mse_rgb"]  # no gradients, no stage
    other = [epoch | {"mepe": 3.0} for epoch in history]
    left, right = figures.training_curves(history, other, other).axes
    curves = [line for line in right.lines if len(line.get_xdata()) == 3]
    assert [line.get_ydata()[0] for line in curves] == [1, 3, 3]
    assert curves[0].get_linewidth() > curves[1].get_linewidth() and right.get_ylim()[1] > 3
    assert len([line for line in left.lines if line.get_label() == "mse_rgb"]) == 1


def test_a_change_of_stage_is_marked_where_the_phase_has_the_same_name():
    history = [{"stage": stage, "phase": "one", "mepe": 1.0, "mse": 0.5} for stage in "ab"]
    assert [line.get_xdata()[0] for line in figures.training_curves(history).axes[1].lines[1:]] == [1.5]


def test_frame_grid_and_static_poses_draw_all():
    images = [np.zeros((8, 8, 3), np.uint8)] * 4
    assert sum(bool(axes.images) for axes in figures.frame_grid(images, columns=3).axes) == 4
    assert len(figures_pose.poses_static(images, {"truth": POSE, "ours": POSE}).axes) == 12
    alone = figures_pose.poses_static(None, {"truth": POSE, "ours": POSE}, {"ours": np.arange(4.0)}).axes
    assert [axes.get_title() for axes in alone] == ["truth", "ours\n0.0 mm", "", "1.0 mm", "", "2.0 mm", "", "3.0 mm"]


def test_shown_figures_ask_nothing_of_the_network_and_escape_text(capsys, monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda value, **_: shown.append(value))
    show(figures.interactive_pck_bands({"ours": [POSE]}, POSE), "name", 'a "quoted" <b>')
    assert 'id="name"' in shown[0]["text/html"] and "&quot;quoted&quot; &lt;b&gt;" in shown[0]["text/html"]
    assert "cdn" not in shown[0]["text/html"]
    card = dict(row="<i>", stage="s", preset="p", dataset="d", seed=0, frames={"training": 1, "evaluation": 1}, dirty=False,
                data_fingerprint="f", commit="c", training_code="t", identity="i", device="<script>", threads=1, precision="32",
                platform="x", seconds=1, peak_memory_mib=1, versions={}, metrics={"mepe": 1})  # fmt: skip
    show_card(card)
    assert "<script>" not in shown[1]["text/html"] and "&lt;script&gt;" in shown[1]["text/html"]


def test_curves_and_poses_are_centred_on_the_root_asked_for():
    rng = np.random.default_rng(0)
    target = rng.normal(size=(3, 21, 3)) * 30 + [0, 0, 600]
    predicted = target + rng.normal(size=target.shape) * 10
    for root in ("palm", "wrist"):
        label = f"x (AUC {auc(predicted, target, root=root):.3f})"
        assert figures.interactive_pck_bands({"x": [predicted]}, target, root=root).data[0].name == label
        figure = figures.pck_bands({"x": [predicted]}, target, root=root)
        assert figure.axes[0].get_legend().get_texts()[0].get_text() == label
    wrist = figures_pose.interactive_poses({"x": target[:1]}, ["0"], root="wrist").data[0]
    assert (wrist.x[0], wrist.y[0], wrist.z[0]) == (0, 0, 0)
