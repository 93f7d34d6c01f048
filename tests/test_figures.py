import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest

from handpose import figures
from handpose.metrics import auc
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


def test_pck_figures_show_the_same_curve():
    still = figures.pck_curves({"ours": POSE + [0, 0, 1]}, POSE)
    turned = figures.interactive_pck({"ours": POSE + [0, 0, 1]}, POSE)
    np.testing.assert_allclose(still.axes[0].lines[0].get_ydata(), turned.data[0].y, atol=1e-4)
    assert turned.data[0].name == "ours (AUC 1.000)"


def test_interactive_poses_hold_every_hand_around_its_root():
    figure = figures.interactive_poses({"truth": POSE, "ours": POSE + 7}, list("abcd"))
    assert len(figure.data) == 4 * 2 * 5
    assert sum(trace.visible for trace in figure.data) == 2 * 5
    np.testing.assert_allclose(figure.data[0].x, figure.data[5].x, atol=0.1)  # a shift of the whole hand is not seen
    steps = figure.layout.sliders[0].steps
    assert [sum(step.args[0]["visible"]) for step in steps] == [10] * 4
    assert all(scene.camera.up.y == -1 for scene in (figure.layout.scene, figure.layout.scene2))  # y points down


def test_training_curves_mark_the_change_of_phase():
    history = [{"phase": phase, "epoch": 0, "mepe": 1.0, "mse_rgb": 0.5} for phase in ("a", "a", "b")]
    figure = figures.training_curves(history)
    assert [line.get_xdata()[0] for line in figure.axes[1].lines[1:]] == [2.5]


def test_frame_grid_and_static_poses_draw_all():
    images = [np.zeros((8, 8, 3), np.uint8)] * 4
    assert sum(bool(axes.images) for axes in figures.frame_grid(images, columns=3).axes) == 4
    assert len(figures.poses_static(images, {"truth": POSE, "ours": POSE}).axes) == 12


def test_shown_figures_ask_nothing_of_the_network_and_escape_text(capsys, monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda value, **_: shown.append(value))
    show(figures.interactive_pck({"ours": POSE}, POSE), "name", 'a "quoted" <b>')
    assert 'id="name"' in shown[0]["text/html"] and "&quot;quoted&quot; &lt;b&gt;" in shown[0]["text/html"]
    assert "cdn" not in shown[0]["text/html"]
    card = dict(row="<i>", stage="s", preset="p", dataset="d", seed=0, frames={"training": 1, "evaluation": 1}, dirty=False,
                data_fingerprint="f", commit="c", source="s", identity="i", device="<script>", threads=1, precision="32",
                platform="x", seconds=1, peak_memory_mib=1, versions={}, metrics={"mepe": 1})  # fmt: skip
    show_card(card)
    assert "<script>" not in shown[1].data and "&lt;script&gt;" in shown[1].data


def test_curves_and_poses_are_centred_on_the_root_asked_for():
    rng = np.random.default_rng(0)
    target = rng.normal(size=(3, 21, 3)) * 30 + [0, 0, 600]
    predicted = target + rng.normal(size=target.shape) * 10
    for root in ("palm", "wrist"):
        label = f"x (AUC {auc(predicted, target, root=root):.3f})"
        assert figures.interactive_pck({"x": predicted}, target, root=root).data[0].name == label
        figure = figures.pck_curves({"x": predicted}, target, root=root)
        assert figure.axes[0].get_legend().get_texts()[0].get_text() == label
    wrist = figures.interactive_poses({"x": target[:1]}, ["0"], root="wrist").data[0]
    assert (wrist.x[0], wrist.y[0], wrist.z[0]) == (0, 0, 0)
