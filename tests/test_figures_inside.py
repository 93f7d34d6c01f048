"""The figures of "See the method work": that they show the numbers that they were given."""

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from handpose import figures_inside, figures_losses, inside
from handpose.pictures import DrawnFrames

matplotlib.use("Agg")
RNG = np.random.default_rng(0)
FRAME = DrawnFrames(64)[3]
HAND = FRAME.xyz - FRAME.xyz.mean(0)
BENT = inside.bend(HAND, "index", 40, FRAME.hand == "left")


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


STATES = {f"{row}: {title}": (RNG.normal(size=(30, 2)), RNG.normal(size=(30, 2)) + 3, f"note {row}") for row, title in inside.STATES.items()}
COLOURS = {"view": RNG.normal(size=30), "background": np.array(["stripes", "noise", "leaves"] * 10)}


def test_the_latents_slider_shows_each_states_points():
    figure = figures_inside.interactive_latents(STATES, COLOURS)
    picture, pose, _ = next(iter(STATES.values()))
    np.testing.assert_allclose(figure.data[1].x, picture[:, 0], atol=0.006)
    np.testing.assert_allclose(figure.data[2].y, pose[:, 1], atol=0.006)
    steps = figure.layout.sliders[0].steps
    assert [step.label for step in steps] == list(inside.STATES)
    for step, (title, (picture, pose, note)) in zip(steps, STATES.items()):
        points, layout, traces = step.args
        np.testing.assert_allclose(points["x"][1], picture[:, 0], atol=0.006)
        np.testing.assert_allclose(points["y"][2], pose[:, 1], atol=0.006)
        assert layout["title.text"] == f"{title}<br><sup>{note}</sup>" and list(traces) == [0, 1, 2]
    assert len(figure.data[0].x) == 24 * 3 and figure.data[0].x[2] is None  # 24 lines with gaps


def test_points_are_coloured_by_what_was_chosen():
    buttons = figures_inside.interactive_latents(STATES, COLOURS).layout.updatemenus[0].buttons
    assert [button.label for button in buttons] == ["colour: picture or true pose", "colour: view", "colour: background"]
    kind, view, background = ([marker["color"] for marker in button.args[0]["marker"]] for button in buttons)
    assert kind == list(figures_inside.KIND_COLOURS.values())
    np.testing.assert_allclose(view[0], COLOURS["view"], atol=0.006)
    assert view[0] == view[1]
    marker = buttons[2].args[0]["marker"][0]
    ticks = dict(zip(marker["colorbar"]["tickvals"], marker["colorbar"]["ticktext"]))
    assert [ticks[number] for number in background[0]] == COLOURS["background"].tolist()
    assert [one["showscale"] for one in buttons[2].args[0]["marker"]] == [True, False]


def test_photographs_have_no_factors_to_colour_by():
    assert len(figures_inside.interactive_latents(STATES, {}).layout.updatemenus[0].buttons) == 1


def test_the_still_latents_have_a_panel_a_state():
    figure = figures_inside.latents_static(STATES)
    assert [axes.get_title() for axes in figure.axes] == list(STATES)
    drawn = figure.axes[1].collections[0].get_offsets()
    np.testing.assert_allclose(drawn, list(STATES.values())[1][0][::2])


def test_hands_along_directions():
    hands = np.stack([[HAND, BENT, HAND * 2]] * 2)
    figure = figures_inside.directions_static(hands, ["one", "two"], ["-", "start", "+"])
    assert len(figure.axes) == 6 and figure.axes[1].get_title() == "two" and figure.axes[2].get_ylabel() == "start"
    assert len({axes.get_xlim() for axes in figure.axes}) == 1


CHANGES = ("same", "background", "light")


def test_exchanged_pictures_and_what_was_predicted():
    pictures = [{change: FRAME.image for change in CHANGES}] * 2  # noqa: C420
    joints = {"true pose": [{"same": FRAME.uv}] * 2} | {row: [dict.fromkeys(CHANGES, FRAME.uv)] * 2 for row in ("baseline", "D3")}
    figure = figures_inside.pairs_static(pictures, joints)
    assert len(figure.axes) == 2 * (3 + 2)
    assert [axes.get_title() for axes in figure.axes[:5]] == ["unchanged", "other background", "other light", "baseline", "row D3"]
    assert len(figure.axes[3].lines) == 20 * 4 and len(figure.axes[0].images) == 1
    (left, right), (low, high) = figure.axes[3].get_xlim(), figure.axes[3].get_ylim()
    assert left < FRAME.uv[:, 0].min() < FRAME.uv[:, 0].max() < right and high < FRAME.uv[:, 1].min() < low


def test_the_slider_over_pairs_shows_one_frame_at_a_time():
    poses = {name: {change: np.stack([HAND, BENT]) for change in ("true", *CHANGES)} for name in ("baseline", "row D3")}
    figure = figures_inside.interactive_pairs(poses, ["7", "9"])
    assert len(figure.data) == 2 * 2 * 4
    assert [sum(step.args[0]["visible"]) for step in figure.layout.sliders[0].steps] == [8, 8]
    shown = [trace for trace, visible in zip(figure.data, figure.layout.sliders[0].steps[1].args[0]["visible"]) if visible]
    xs = [x for x in shown[0].x if x is not None]
    np.testing.assert_allclose(xs, [BENT[joint, 0] for joints in figures_inside.FINGER_JOINTS.values() for joint in joints], atol=0.06)


def test_the_boxes_hold_the_quantiles():
    moved = {"baseline": {"background": np.arange(101.0), "light": np.arange(101.0) * 2}}
    background, light = figures_inside.interactive_moved(moved).data
    assert [one[0] for one in (background.lowerfence, background.q1, background.median, background.q3, background.upperfence)] == [5, 25, 50, 75, 95]
    assert light.mean[0] == 100 and light.name == "other light"


def test_the_chain_space_map_shows_bones_and_the_difference():
    views = {name: inside.chain_space(pose, 40.0) for name, pose in (("true", HAND), ("bent", BENT))}
    figure = figures_losses.interactive_chain_space(views)
    assert [trace.name for trace in figure.data] == ["true", "bent", "difference"] and [trace.visible for trace in figure.data] == [True, False, False]
    np.testing.assert_allclose(np.array(figure.data[2].z), views["bent"]["kcs"] - views["true"]["kcs"], atol=0.006)
    assert figure.data[2].zmin == -figure.data[2].zmax and figure.data[0].customdata[0][0] == 0
    length = np.linalg.norm(HAND[6] - HAND[5])
    assert figure.data[0].x[5] == f"index MCP – index PIP ({length:.0f} mm)"
    with pytest.raises(ValueError, match="their bones differ in length"):
        figures_losses.interactive_chain_space({"one": views["true"], "two": inside.chain_space(HAND * 1.2, 40.0)})


def test_the_line_map_has_a_column_a_line():
    views = {name: inside.line_distances(pose) for name, pose in (("true", HAND), ("bent", BENT))}
    figure = figures_losses.interactive_lines(views)
    true = figure.data[0]
    assert len(true.x) == 210 and len(true.y) == 21 and len(set(true.x)) == 210
    column = list(true.x).index("index MCP – little MCP")
    assert true.z[12][column] == round(views["true"][12, column]) and true.z[5][column] is None
    assert [button.args[0]["visible"] for button in figure.layout.updatemenus[0].buttons] == np.eye(3, dtype=bool).tolist()


def test_arrows_are_as_long_as_the_pull_is_strong():
    pull = np.zeros((21, 3))
    pull[8], pull[7], pull[3] = [0, 2, 0], [1, 0, 0], [0.01, 0, 0]
    heads = figures_losses.arrows(HAND, pull, longest=30)
    np.testing.assert_allclose(heads[8] - HAND[8], [0, 30, 0], atol=1e-5)
    np.testing.assert_allclose(heads[7] - HAND[7], [15, 0, 0], atol=1e-5)
    assert np.isnan(heads[3]).all() and np.isnan(heads[0]).all()
    assert np.isnan(figures_losses.arrows(HAND, np.zeros((21, 3)))).all()


def test_a_button_shows_one_losss_arrows():
    pulls = inside.pulls(BENT, HAND, 40.0)
    figure = figures_losses.interactive_pulls(BENT, HAND, pulls)
    for number, button in enumerate(figure.layout.updatemenus[0].buttons):
        visible = button.args[0]["visible"]
        assert len(visible) == len(figure.data) and all(visible[:6]) and sum(visible) == 8 and visible[6 + 2 * number]
    squared = figure.data[7]
    assert len(squared.x) == 3 and "index tip: 100 % of the strongest" in squared.text
    still = figures_losses.pulls_static(BENT, HAND, pulls)
    assert [axes.get_title() for axes in still.axes] == ["MSE", "KCS", "GEO"]


def test_gradients_are_drawn_epoch_by_epoch():
    layers = ["backbone, first layer", "decoder layer 1"]
    norms = {row: [pd.DataFrame([[1.0, 4.0], [2.0, 8.0]], columns=layers) * factor for factor in (1, 4)] for row in ("baseline", "A")}
    figure = figures_inside.interactive_gradients(norms)
    shown = [trace for trace in figure.data if trace.visible]
    np.testing.assert_allclose(shown[0].y, [4, 16])  # geometric means of the last epoch
    assert [step.label for step in figure.layout.sliders[0].steps] == ["1", "2"] and figure.layout.sliders[0].active == 1
    assert [sum(step.args[0]["visible"]) for step in figure.layout.sliders[0].steps] == [4, 4]
