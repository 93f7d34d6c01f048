"""The field's protocols: our functions against the formulae worked once more, known values, and what each choice does."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from handpose import metrics, protocols
from handpose.protocols import HAND3D, HAND3D_CENTRED, OURS, PROTOCOLS, best_fit, compare_protocols, evaluate
from handpose.skeleton import RHD_ORDER

NAMES = [one.name for one in PROTOCOLS]
OF = dict(zip(NAMES, PROTOCOLS))
#: Places of RHD's 21 joints of one hand, as its own code counts them.
RHD_MIDDLE_MCP = 12


def hands(count=5, seed=0, spread=40.0):
    return np.random.default_rng(seed).normal(size=(count, 21, 3)) * spread


class Evaluator:
    """The field's evaluation, worked anew from its description: a drawer a joint, and plain loops.

    Frames are in RHD's own joint order, metres, as its code sees them.
    """

    def __init__(self):
        self.drawers = [[] for _ in range(21)]

    def add(self, truth, seen, guess):
        for joint in range(21):
            if seen[joint]:
                gap = [truth[joint][axis] - guess[joint][axis] for axis in range(3)]
                self.drawers[joint].append(sum(part * part for part in gap) ** 0.5)

    def results(self, last, count, skip):
        means, medians, curves = [], [], []
        grid = [last * step / (count - 1) for step in range(count)]
        for drawer in self.drawers:
            if not drawer:
                continue
            ordered, half = sorted(drawer), len(drawer) // 2
            means.append(sum(drawer) / len(drawer))
            medians.append(ordered[half] if len(drawer) % 2 else (ordered[half - 1] + ordered[half]) / 2)
            curves.append([sum(1 for distance in drawer if distance <= limit) / len(drawer) for limit in grid])
        curve = [sum(one[step] for one in curves) / len(curves) for step in range(count)]
        area = sum((curve[k] + curve[k + 1]) / 2 * (grid[k + 1] - grid[k]) for k in range(skip, count - 1))
        return sum(means) / len(means) * 1000, sum(medians) / len(medians) * 1000, area / (grid[-1] - grid[skip])


def by_the_fields_code(predicted, target, visible, scale, skip=8):
    """What hand3d's evaluation prints for poses in canonical order, mm; ``predicted`` relative to the root, over ``scale``."""
    evaluator = Evaluator()
    for guess, truth, seen, length in zip(predicted, target, visible, scale):
        order = np.argsort(RHD_ORDER)  # canonical -> RHD
        truth, guess, seen = truth[order] / 1000, guess[order].copy(), seen[order].copy()
        # their reader puts the palm into the wrist's place of the truth; their network predicts it there
        truth[0] = (truth[0] + truth[RHD_MIDDLE_MCP]) / 2
        seen[0] = seen[0] or seen[RHD_MIDDLE_MCP]
        guess[0] = (guess[0] + guess[RHD_MIDDLE_MCP]) / 2
        guess *= length / 1000
        evaluator.add(truth - truth[0], seen, guess)
    return evaluator.results(0.050, 20, skip)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.floats(2, 60), st.floats(0.1, 1.0))
def test_hand3d_is_what_the_fields_formulae_give(seed, count, noise, share):
    """Bar: mean, median and AUC of one batch, by two routes; some joints may be visible in no frame."""
    rng = np.random.default_rng(seed)
    target = rng.normal(size=(count, 21, 3)) * 40 + rng.normal(size=(count, 1, 3)) * 300
    scale = rng.uniform(20, 40, count)
    root = metrics.root_of(target)[:, None]
    network = (target - root + rng.normal(size=target.shape) * noise) / scale[:, None, None]  # not centred again
    visible = rng.random((count, 21)) < share
    visible[0, rng.integers(21)] = True
    expected = by_the_fields_code(network, target, visible, scale)
    ours = evaluate(HAND3D, network * scale[:, None, None], target - root, visible)
    np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-12)
    in_the_camera = evaluate(HAND3D, network * scale[:, None, None] + root, target, visible)
    np.testing.assert_allclose(in_the_camera, expected, rtol=1e-7, atol=1e-12)
    lifting = by_the_fields_code(network, target, np.ones_like(visible), scale, skip=0)
    np.testing.assert_allclose(evaluate(OF["hand3d, lifting"], network * scale[:, None, None], target - root), lifting, rtol=1e-9)


def test_a_joint_that_is_never_visible_is_left_out():
    target, visible = hands(), np.ones((5, 21), bool)
    predicted = target - metrics.root_of(target)[:, None]
    predicted[:, 20] += 1000
    visible[:, 20] = False
    assert evaluate(HAND3D, predicted, target - metrics.root_of(target)[:, None], visible) == pytest.approx((0, 0, 1), abs=1e-9)


@given(st.integers(0, 2**32 - 1))
def test_auc_of_metrics_is_hand3ds_grid_and_averages_on_our_joints(seed):
    rng = np.random.default_rng(seed)
    target, visible = hands(6, seed), rng.random((6, 21)) < 0.6
    visible[0, 0] = True
    predicted = target + rng.normal(size=target.shape) * 25
    ours = replace(HAND3D, centred="both", joint_0="wrist")
    expected = metrics.auc(predicted, target, protocol="hand3d", visible=visible)
    assert evaluate(ours, predicted, target, visible).auc == pytest.approx(expected)


def test_ours_is_what_the_book_reports():
    target = hands(8)
    predicted = target + hands(8, 1, 12)
    figures = evaluate(OURS, predicted, target, np.zeros((8, 21), bool))  # nothing visible: it looks at all joints
    assert figures.mean == pytest.approx(metrics.mepe(predicted, target))
    assert figures.auc == pytest.approx(metrics.auc(predicted, target))
    assert figures.median == pytest.approx(np.median(metrics.joint_errors(predicted, target)))
    stb = evaluate(OURS, predicted, target, root_joint="wrist")
    assert stb.mean == pytest.approx(metrics.mepe(predicted, target, root="wrist"))


@pytest.mark.parametrize("name, count, first", [
    ("this book", 31, 20), ("hand3d", 12, 400 / 19), ("hand3d, lifting", 20, 0), ("BiHand", 20, 20), ("Minimal-Hand", 15, 20),
    ("STB's old curves", 7, 20), ("Procrustes-aligned", 100, 0),
])  # fmt: skip
def test_thresholds(name, count, first):
    grid = OF[name].thresholds
    assert len(grid) == count and grid[0] == pytest.approx(first) and grid[-1] == 50


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=NAMES)
def test_a_perfect_pose_has_no_error(protocol):
    target = hands()
    scale = None
    if protocol.scale == "training mean":
        lengths = np.linalg.norm(target[:, 10] - target[:, 9], axis=1)
        target, scale = target * (30 / lengths)[:, None, None], 30.0
    figures = evaluate(protocol, target, target, np.ones((5, 21), bool), mean_scale=scale)
    assert figures.mean == pytest.approx(0, abs=1e-9)
    assert np.isnan(figures.auc) if protocol.name == "InterNet" else figures.auc == pytest.approx(1, abs=0.01)  # rounding at 0 mm


def test_what_a_moved_prediction_costs():
    """Only where the target alone is centred does it matter where the network puts the whole hand."""
    target = hands() - metrics.root_of(hands())[:, None]
    moved = target + [3.0, 0.0, 4.0]
    assert evaluate(HAND3D, moved, target).mean == pytest.approx(5)
    assert evaluate(HAND3D, moved, target).median == pytest.approx(5)
    for protocol in PROTOCOLS:
        if protocol.centred == "both":
            assert evaluate(protocol, moved, target, mean_scale=30.0).mean == pytest.approx(
                evaluate(protocol, target, target, mean_scale=30.0).mean, abs=1e-9)  # fmt: skip


def test_with_the_palm_as_joint_0_one_error_of_21_is_zero():
    target = hands()
    predicted = target.copy()
    predicted[:, 1:9] += 21.0
    predicted[:, 10:] += 21.0  # all but wrist and middle MCP
    length = 21 * np.sqrt(3)
    assert evaluate(HAND3D_CENTRED, predicted, target).mean == pytest.approx(length * 19 / 21)
    visible = np.zeros((5, 21), bool)
    visible[:, [3, 9]] = True  # the palm counts as seen because the MCP is
    assert evaluate(HAND3D_CENTRED, predicted, target, visible).mean == pytest.approx(length / 3)
    visible[:, 9] = False
    assert evaluate(HAND3D_CENTRED, predicted, target, visible).mean == pytest.approx(length)


def test_joints_first_or_all_together():
    """One joint seen once and far off, another seen in all frames: a third of the joints, or a fifth of the errors."""
    target, visible = np.zeros((4, 21, 3)), np.zeros((4, 21), bool)
    visible[:, 5], visible[0, 6] = True, True
    predicted = target.copy()
    predicted[0, 6, 0] = 30.0
    by_joint = replace(OURS, joints="visible", average="per joint")
    assert evaluate(by_joint, predicted, target, visible)[:2] == pytest.approx((15, 15))
    assert evaluate(replace(by_joint, average="pooled"), predicted, target, visible)[:2] == pytest.approx((6, 0))


@pytest.mark.parametrize("name, joint", [("wrist as root", 0), ("middle MCP as root", 9), ("InterNet", 0), ("BiHand", 9)])
def test_an_error_of_the_root_moves_all_other_joints(name, joint):
    target = hands()
    predicted = target.copy()
    predicted[:, joint, 1] += 21.0
    assert evaluate(OF[name], predicted, target).mean == pytest.approx(20)
    assert evaluate(OF["this book"], predicted, target).mean == pytest.approx(10.5)


def test_scale_not_given():
    target = hands()
    lengths = np.linalg.norm(target[:, 10] - target[:, 9], axis=1)
    target *= (25 / lengths)[:, None, None]
    centred = target - metrics.root_of(target)[:, None]
    figures = evaluate(OF["no scale given"], target, target, mean_scale=30.0)
    assert figures.mean == pytest.approx(0.2 * np.linalg.norm(centred, axis=-1).mean())
    with pytest.raises(ValueError, match="needs mean_scale: the mean of the training hands, mm"):
        evaluate(OF["no scale given"], target, target)


def test_own_bone_takes_out_a_wrong_size():
    target = hands()
    assert evaluate(OF["Minimal-Hand"], 1.7 * target, target).mean == pytest.approx(0, abs=1e-9)
    assert evaluate(OF["BiHand"], 1.7 * target, target).mean > 10
    with pytest.raises(ValueError, match="whose wrist lies on its middle MCP"):
        evaluate(OF["Minimal-Hand"], 0 * target, target)


@given(st.integers(0, 2**32 - 1), st.floats(0.2, 5))
def test_best_fit_undoes_place_turn_and_size_but_no_mirror(seed, size):
    rng = np.random.default_rng(seed)
    target, turn = hands(3, seed), Rotation.random(random_state=rng).as_matrix()
    moved = size * target @ turn.T + rng.normal(size=3) * 100
    np.testing.assert_allclose(best_fit(moved, target), target, atol=1e-6)
    assert np.abs(best_fit(moved * [-1, 1, 1], target) - target).max() > 1
    noisy = target + rng.normal(size=target.shape) * 10
    fitted = (best_fit(noisy, target) - target) ** 2
    assert fitted.sum() <= ((noisy - target) ** 2).sum() + 1e-6
    for one, other in zip(noisy, target):  # scipy's own fit, after both are centred and of one size
        a, b = one - one.mean(0), other - other.mean(0)
        turn, _ = Rotation.align_vectors(b, a)
        a = turn.apply(a)
        a *= (a * b).sum() / (a * a).sum()
        np.testing.assert_allclose(best_fit(one[None], other[None])[0], a + other.mean(0), atol=1e-6)


def test_best_fit_of_a_collapsed_pose_is_the_middle():
    target = hands(2)
    fitted = best_fit(np.zeros_like(target), target)
    np.testing.assert_allclose(fitted, np.broadcast_to(target.mean(1, keepdims=True), target.shape))


@pytest.mark.parametrize("change, words", [
    (dict(predicted=hands(4)), "poses must both be"),
    (dict(target=np.full((5, 21, 3), np.nan)), "not finite"),
    (dict(visible=np.ones((5, 20), bool)), "visible must be"),
    (dict(visible=np.zeros((5, 21), bool)), "no visible joint"),
    (dict(root_joint="elbow"), 'root must be "palm" or "wrist"'),
    (dict(protocol="hand4d"), "one of 'this book', 'hand3d', .*got 'hand4d'"),
])  # fmt: skip
def test_bad_arguments_are_refused(change, words):
    arguments = dict(protocol=HAND3D, predicted=hands(), target=hands(), visible=None) | change
    with pytest.raises(ValueError, match=words):
        evaluate(**arguments)


@pytest.mark.parametrize("name", NAMES)
def test_a_protocol_goes_by_its_name(name):
    assert evaluate(name, hands(), hands(seed=1), mean_scale=30.0) == evaluate(OF[name], hands(), hands(seed=1), mean_scale=30.0)


def results_of(root_joint="palm", kept=True):
    target = hands(6) - metrics.root_of(hands(6))[:, None]
    cards = {("baseline", 0): 9.0, ("baseline", 1): 9.5, ("D3", 0): 4.5}
    runs = {}
    for number, (key, noise) in enumerate(cards.items()):
        predicted = target + hands(6, 10 + number, noise)
        predicted -= metrics.root_of(predicted, root_joint)[:, None]
        runs[key] = SimpleNamespace(predicted=predicted, uncentred=predicted + 2.0 if kept else None, card={"scale_mm": 30.0})

    class Stored(dict):
        def seeds(self, row):
            return sorted(seed for name, seed in self if name == row)

    stored = Stored(runs)
    stored.target, stored.mean_pose, stored.visible, stored.root_joint = target, target * 0.9, np.ones((6, 21), bool), root_joint
    return stored


def test_comparison_has_a_line_for_each_protocol_row_and_seed():
    table = compare_protocols(results_of())
    assert len(table) == len(PROTOCOLS) * 4 and table["mean"].notna().all()
    line = table.set_index(["protocol", "row", "seed"]).loc[("hand3d", "baseline", 1)]
    results = results_of()
    assert line["mean"] == evaluate(HAND3D, results["baseline", 1].uncentred, results.target, results.visible).mean
    text = protocols.compared(table)
    assert list(text["", "Protocol"]) == NAMES
    means = {key: metrics.mepe(results[key].predicted, results.target) for key in results}
    assert text.loc[0, ("baseline", "mean")] == f"{(means['baseline', 0] + means['baseline', 1]) / 2:.2f}"
    change = 100 * (means["D3", 0] / means["baseline", 0] - 1)  # the seed that both have
    assert text.loc[0, ("D3 against", "baseline")] == f"{change:+.1f} %"


def test_a_line_of_fewer_seeds_compares_the_same_seeds_and_says_which():
    table = compare_protocols(results_of())
    table.loc[(table["protocol"] == "hand3d") & (table["row"] == "baseline") & (table["seed"] == 1), ["mean", "median", "auc"]] = np.nan
    text = protocols.compared(table).set_index(("", "Protocol"))
    kept = table.set_index(["protocol", "row", "seed"])["mean"]
    assert text.loc["hand3d (seed 0)", ("baseline", "mean")] == f"{kept['hand3d', 'baseline', 0]:.2f}"
    kept = {row: kept["hand3d", row, 0] for row in ("baseline", "D3")}
    assert text.loc["hand3d (seed 0)", ("D3 against", "baseline")] == f"{100 * (kept['D3'] / kept['baseline'] - 1):+.1f} %"
    assert sum(name.endswith("(seed 0)") for name in text.index) == 1 and text.loc["this book", ("baseline", "mean")] != text.loc["this book", ("D3", "mean")]


def test_what_was_not_kept_is_not_made_up():
    table = compare_protocols(results_of(kept=False)).set_index(["protocol", "row"])
    assert table.loc[[("hand3d", "D3"), ("hand3d, lifting", "baseline")], "mean"].isna().all()
    assert table.loc[[("hand3d", "mean pose"), ("hand3d, both centred", "D3")], "mean"].notna().all()
    text = protocols.compared(table.reset_index())
    line = text[text["", "Protocol"] == "hand3d"].iloc[0]
    assert line["D3", "mean"] == "not kept" and line["D3", "AUC"] == "" and line["D3 against", "baseline"] == ""
    assert float(line["mean pose", "mean"]) > 0


def test_on_stb_the_palm_is_the_only_root_of_its_kind():
    table = compare_protocols(results_of("wrist"))
    assert "wrist as root" not in set(table["protocol"]) and len(set(table["protocol"])) == len(PROTOCOLS) - 1
    assert len(compare_protocols(results_of(), rows=("A",))) == 0


def test_the_description_says_all_of_a_protocol():
    text, who = (table.set_index("Protocol") for table in protocols.described(PROTOCOLS))
    assert list(text.index) == list(who.index) == NAMES
    assert who.loc["Procrustes-aligned", "Where it is written"] == "freihand eval.py"
    assert text.loc["hand3d", "Thresholds (mm)"] == "12 from 21.05 to 50" and text.loc["InterNet", "Thresholds (mm)"] == "none"
    assert list(text.loc["hand3d", ["Root", "Centred", "Joint 0", "Scale", "Joints", "Average"]]) == [
        "palm", "target", "palm", "given", "visible", "per joint"]  # fmt: skip


def test_palm_or_wrist():
    results = results_of()
    text = protocols.palm_or_wrist(results).set_index("Root")
    assert list(text.columns) == ["mean pose", "baseline", "baseline-longer", "D3"] and len(text) == 5
    assert set(text["baseline-longer"]) == {"not run"}
    # the common formula gives the wrist back that the palm was made from
    errors = [metrics.mepe(results["baseline", seed].predicted, results.target, root="wrist") for seed in (0, 1)]
    assert text.loc["wrist from ring MCP, 2.0", "baseline"] == f"{np.mean(errors):.2f}"
    palm = 0.5 * (results.target[:, 0] + results.target[:, 13])
    own = 0.5 * (results["D3", 0].predicted[:, 0] + results["D3", 0].predicted[:, 13])
    moved = (results["D3", 0].predicted - own[:, None]) - (results.target - palm[:, None])
    assert text.loc["palm, joint 0 the palm", "D3"] == f"{np.linalg.norm(moved[:, 1:], axis=-1).sum() / moved[..., 0].size:.2f}"
    stb = protocols.palm_or_wrist(results_of("wrist"), rows=("A", "D3")).set_index("Root")
    assert set(stb["A"]) == {"not run"}
    labelled = results_of("wrist")
    assert stb.loc["palm, joint 0 the palm", "D3"] == f"{metrics.mepe(labelled['D3', 0].predicted, labelled.target, root='wrist'):.2f}"


def test_no_scale_given_takes_the_mean_hands():
    """What the true bone of 25 mm makes 1.5 times too large, the mean hand's 30 mm make 1.8 times too large."""
    target = hands()
    target *= (25 / np.linalg.norm(target[:, 10] - target[:, 9], axis=1))[:, None, None]
    centred = target - metrics.root_of(target)[:, None]
    assert evaluate(OF["no scale given"], 1.5 * target, target, mean_scale=30.0).mean == pytest.approx(0.8 * np.linalg.norm(centred, axis=-1).mean())


def test_own_bone_is_wrist_to_middle_mcp():
    """That bone alone predicted twice as long: all is halved about the middle MCP."""
    target = hands()
    predicted = target.copy()
    predicted[:, 0] = target[:, 9] + 2 * (target[:, 0] - target[:, 9])
    lengths = np.linalg.norm(target - target[:, 9:10], axis=-1)
    assert evaluate(OF["Minimal-Hand"], predicted, target).mean == pytest.approx(0.5 * lengths[:, 1:].sum(1).mean() / 21)


def test_hidden_joints_count_where_all_do():
    target, visible = hands(), np.ones((5, 21), bool)
    predicted, visible[:, 7] = target.copy(), False
    predicted[:, 7] += 50
    found = {name: evaluate(OF[name], predicted, target, visible).mean for name in ("InterNet", "this book", "BiHand")}
    assert found["InterNet"] == pytest.approx(0, abs=1e-9) and min(found["this book"], found["BiHand"]) > 1


def test_procrustes_measures_what_the_fit_leaves():
    target = hands()
    noisy = target + hands(seed=1, spread=10)
    expected = np.linalg.norm(best_fit(noisy, target) - target, axis=-1).mean()
    assert evaluate(OF["Procrustes-aligned"], noisy, target).mean == pytest.approx(expected)
