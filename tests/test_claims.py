import json
from dataclasses import replace
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
from test_tables import HANDS, moved_by, write_results

from handpose import claims
from handpose.claims import CLAIMS, Claim, effect, gradient_norms, measure_claims, measures_table, paper_change
from handpose.effects import paired_effect, t_interval, verdict
from handpose.experiments import CONTROLS, PARTS, ROWS, find_row
from handpose.results import Results, training_size
from handpose.tables_html import amount, claims_frame, interval


def made(differences, frames=50):
    """Effect of seeds whose difference is the same in every frame."""
    base = [np.full(frames, 10.0) for _ in differences]
    return paired_effect([one + value for one, value in zip(base, differences)], base)


def test_the_effect_of_known_differences():
    one = made([-1.0, -2.0, -3.0])
    assert (one.mean, one.relative, one.per_seed, one.seeds) == (-2.0, -0.2, (-1.0, -2.0, -3.0), (0, 1, 2))
    assert one.frames_only == pytest.approx((-2.0, -2.0))  # the same in every frame
    assert one.bootstrap == pytest.approx((-3.0, -1.0))  # each seed three times over: 1 in 27
    half = 4.302652729911275 / np.sqrt(3)  # t of 2 degrees of freedom, standard deviation 1
    assert one.over_seeds == pytest.approx((-2 - half, -2 + half))
    assert (one.low, one.high) == pytest.approx((-2 - half, -2 + half))


def test_pairing_takes_out_what_frames_share():
    rng = np.random.default_rng(0)
    hard = rng.gamma(2.0, 10.0, (1, 2000))
    base = hard + rng.normal(0, 0.1, (1, 2000))
    one = paired_effect(hard - 0.5 + rng.normal(0, 0.1, (1, 2000)), base)
    assert -0.52 < one.low < -0.5 < one.high < -0.48


def test_the_frames_interval_is_the_standard_errors():
    values = np.random.default_rng(1).normal(1.0, 4.0, (1, 1600))
    one = paired_effect(values, np.zeros((1, 1600)))
    width = 2 * 1.96 * values.std() / 40
    assert one.bootstrap == one.frames_only
    assert one.high - one.low == pytest.approx(width, rel=0.06)
    assert np.isnan(one.over_seeds).all() and np.isnan(one.relative)


def test_seeds_that_differ_widen_the_interval():
    rng = np.random.default_rng(2)
    noise = rng.normal(0, 1.0, (3, 400))
    one = paired_effect(noise + np.array([[-1.0], [0.0], [1.0]]), np.ones((3, 400)))
    assert one.bootstrap[1] - one.bootstrap[0] > 5 * (one.frames_only[1] - one.frames_only[0])


def test_frames_are_drawn_together_for_all_seeds():
    shared = np.random.default_rng(3).normal(0, 1.0, 400)
    one = paired_effect([shared, shared], np.zeros((2, 400)))
    single = paired_effect([shared], np.zeros((1, 400)))
    assert one.bootstrap == pytest.approx(single.bootstrap)  # a second seed that says the same adds nothing


@pytest.mark.parametrize("row, base", [
    ([], []), ([[]], [[]]), ([[1.0, 2.0]], [[1.0]]), ([[1.0]], [[1.0], [2.0]]), ([1.0], [1.0]),
])  # fmt: skip
def test_arrays_that_can_not_be_paired_are_refused(row, base):
    with pytest.raises(ValueError, match="lists of arrays"):
        paired_effect(row, base)


def test_seeds_must_be_as_many_as_arrays():
    with pytest.raises(ValueError, match="2 arrays for 1 seeds"):
        paired_effect([[1.0], [2.0]], [[1.0], [1.0]], seeds=[0])


def test_students_interval():
    assert t_interval([0.0, 2.0]) == pytest.approx((1 - 12.706204736, 1 + 12.706204736))
    assert np.isnan(t_interval([1.0])).all()


@pytest.mark.parametrize("differences, expected", [
    ([-1.0, -1.1, -0.9], "supported"),
    ([1.0, 1.1, 0.9], "not supported"),
    ([-1.0, -0.1, -2.0], "undecided at this scale"),  # all agree, but three seeds so far apart may do so by chance
    ([-1.0, 0.1, -1.0], "undecided at this scale"),
    ([0.0, 0.0, 0.0], "undecided at this scale"),
    ([-1.0, -1.01], "supported"),
    ([-1.0, -1.5], "undecided at this scale"),
    ([-1.0], "undecided (one seed)"),
])  # fmt: skip
def test_verdicts(differences, expected):
    one = made(differences)
    assert verdict(one) == expected
    mirrored = {"supported": "not supported", "not supported": "supported"}.get(expected, expected)
    assert verdict(one, direction=1) == mirrored


def test_where_there_is_no_effect_verdicts_are_rare():
    """What the bootstrap alone would get wrong: three seeds agree by chance in one case of four."""
    rng = np.random.default_rng(4)
    effects = [paired_effect(rng.normal(size=(3, 1)) + np.zeros(8), np.zeros((3, 8)), draws=500) for _ in range(400)]
    decided = np.mean([verdict(one) in ("supported", "not supported") for one in effects])
    bootstrap = np.mean([one.bootstrap[0] > 0 or one.bootstrap[1] < 0 for one in effects])
    assert decided < 0.08 and 0.18 < bootstrap < 0.32


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A beats the baseline by 2 mm in 19 of 21 joints, D0 beats B and B-longer beats D0; D1 has one seed in common."""
    errors = {"baseline": 21.0, "A": 19.0, "B": 18.0, "D0": 17.0, "B-longer": 16.0}
    errors = {(row, seed): error + 0.01 * seed * (row == "A") for row, error in errors.items() for seed in (0, 1, 2)}
    errors |= {("D1", 2): 15.0, ("linear-concat", 0): 20.0, ("linear-pose", 0): 20.5,
               ("injection-concat", 0): 19.0, ("injection-pose", 0): 18.0}  # fmt: skip
    predictions = {key: moved_by(error) for key, error in errors.items()}
    layers = ("backbone, first layer", "decoder layer 1", "decoder layer 4")
    history = {row: [{"stage": "warmup", "gradients": {}}] + [
        {"stage": stage, "gradients": dict(zip(layers, norms))} for stage, norms in epochs] for row, epochs in {
            "baseline": [("disentangle", (1.0, 1.0, 4.0)), ("disentangle", (4.0, 1.0, 1.0))],
            "A": [("disentangle", (8.0, 2.0, 1.0)), ("disentangle", (8.0, 2.0, 4.0)), ("further", (1e9, 1e9, 1e9))],
        }.items()}  # fmt: skip
    histories = {key: history.get(key[0], []) for key in predictions}
    return write_results(tmp_path_factory.mktemp("results"), predictions, histories)


def measured(results, name):
    return measure_claims(results, [claim for claim in CLAIMS if claim.name == name])[0]


def test_an_effect_in_mepe(results):
    one = effect(results, "A", "baseline")
    assert one.mean == pytest.approx((-2.0 + 0.01) * 19 / 21, abs=1e-4)
    assert one.relative == pytest.approx(-1.99 / 21, abs=1e-4)
    assert one.seeds == (0, 1, 2)
    assert effect(results, "A", "baseline", seeds=[2]).per_seed == pytest.approx([-1.98 * 19 / 21], abs=1e-4)
    assert effect(results, "D1", "D0").seeds == (2,)  # those that both have been run with


def test_missing_runs_are_named(results):
    with pytest.raises(FileNotFoundError, match="D3 and baseline have not been run with the same seed"):
        effect(results, "D3", "baseline")
    with pytest.raises(FileNotFoundError, match="row A, seed 7 has not been run"):
        effect(results, "A", "baseline", seeds=[0, 7])


def test_the_control_decides_where_it_was_run(results):
    align = measured(results, "align")
    assert verdict(align.against_base) == "supported"
    assert align.verdict == "not supported"  # the same network, trained on, does better
    table = claims_frame(measure_claims(results))
    assert table.loc["align", "effect"].startswith("-0.90 mm")
    assert table.loc["align", "effect against control"].startswith("+0.90 mm")


def test_without_its_control_a_claim_is_judged_on_its_base(results):
    kcs = measured(results, "kcs")
    assert kcs.against_control is None and kcs.verdict == "undecided (one seed)"
    assert claims_frame(measure_claims(results)).loc["kcs", "effect against control"] == "not run"


def test_what_has_not_been_run_is_in_the_table(results):
    table = claims_frame(measure_claims(results))
    assert list(table.index) == [claim.name for claim in CLAIMS]
    assert (table.loc["whole", ["effect", "verdict", "95 % interval"]] == ["not run", "not run", ""]).all()
    assert table.loc["injection", "verdict"] == "supported" and table.loc["injection", "paper, RHD"] == "-4.0 %"
    assert table.loc["background-out-B", "verdict"] == "not known of these frames"


def test_the_interaction_is_the_difference_of_the_two_gains(results):
    one = measured(results, "pose-part-interaction")
    assert one.against_base.mean == pytest.approx((-1.0 - 0.5) * 19 / 21, abs=1e-4)
    assert one.paper == pytest.approx(((14.77 - 14.87) - (15.13 - 15.12)) / (14.87 + 0.01))


def test_the_papers_changes():
    changes = {claim.name: paper_change(claim) for claim in CLAIMS}
    assert changes["injection"] == pytest.approx(15.08 / 15.71 - 1)
    assert changes["whole"] == pytest.approx(-0.1165, abs=1e-4)
    assert changes["gradient"] is changes["bones-kcs"] is None


def test_gradient_ratios_are_geometric_means_over_the_first_stage(results):
    names = ("gradient", "gradient-decoder", "gradient-vanishing")
    ratios = {name: np.exp(measured(results, name).against_base.mean) for name in names}
    # baseline: 2, 1, 1/2; A: 8, 2, 1
    assert ratios == pytest.approx({"gradient": 4.0, "gradient-decoder": 2.0, "gradient-vanishing": 2.0})
    one = measured(results, "gradient")
    assert amount(one.against_base, "times") == "times 4.00" and one.verdict == "supported"


def test_bones_and_joints_are_measured_frame_by_frame(results):
    table = measures_table(results, ["A", "B", "D3"], {"bones": "bones", "angles": "violations", "moves": "background"})
    assert list(table.index) == ["A", "B"] and table.index.name == "row"
    parents = {1: 0, 5: 0, 9: 0, 13: 0, 17: 0}  # nothing but bones at the wrist and at the middle MCP change
    changed = []
    for pose in (moved_by(18.0), HANDS):
        bones = [np.linalg.norm(pose[:, child] - pose[:, parents.get(child, child - 1)], axis=1) for child in range(1, 21)]
        changed.append(np.array(bones))
    assert table.loc["B", "bones"] == f"{np.abs(changed[0] - changed[1]).mean():.2f} ± 0.00"
    assert table.loc["B", "moves"] == "not run"
    assert float(table.loc["B", "angles"].split()[0]) > 10  # random joints are no hand


def save_analysis(results, row, seed, **arrays):
    np.savez(results.folder / f"{row}-seed{seed}" / "analysis.npz", **arrays)


def test_movement_under_another_background(tmp_path):
    results = write_results(tmp_path / "r", {(row, seed): HANDS for row in ("A", "B") for seed in (0, 1)})
    for row, step in (("A", 4.0), ("B", 1.0)):
        for seed in (0, 1):
            off = Results(results.folder).target - [0, 4, 0]
            poses = {"same": off, "light": off, "background": off + [0, step, 0]}
            pairs = {f"pair_{name}": pose.astype(np.float32) for name, pose in poses.items()}
            save_analysis(results, row, seed, pair=np.arange(len(off)), **pairs)
    one = measured(results, "steady-background-B")
    assert one.against_base.mean == pytest.approx(-3.0, abs=1e-4) and one.verdict == "supported"
    assert measured(results, "steady-light-B").against_base.mean == 0
    table = measures_table(results, ["A", "B"], {"error": "background, error"})
    assert list(table["error"]) == ["-4.00 ± 0.00", "-1.00 ± 0.00"]


def test_what_the_pose_part_knows_of_the_background(tmp_path):
    rng = np.random.default_rng(5)
    factors = dict(hand=np.array(["right"] * 10), background=np.array(["plain", "photo"] * 5), light_x=rng.normal(size=10))
    results = write_results(tmp_path / "r", {("B", 0): HANDS}, **factors)
    results.target, results.factors = np.resize(results.target, (400, 21, 3)), results.factors.loc[np.arange(400) % 10]
    knows = (results.factors["background"] == "photo").to_numpy()[:, None] + rng.normal(0, 0.01, (400, 64))
    latent = np.hstack([rng.normal(size=(400, 64)), knows])
    save_analysis(results, "B", 0, latent=latent, latent_pose=latent[:, :64], read_rgb=latent[:, :64])
    one = measured(results, "background-out-B")
    assert one.against_base.mean == pytest.approx(-0.5, abs=0.12)  # all right against half right
    assert interval(one.against_base, "score") == "none with one seed"
    assert one.verdict == "undecided (one seed)"


def test_two_parts_that_tell_nothing_are_not_compared(tmp_path):
    """Two seeds of noise, one part's scores a little lower: that is no claim upheld."""
    rng = np.random.default_rng(6)
    factors = dict(hand=np.array(["right"] * 10), background=np.array(["plain", "photo"] * 5), light_x=rng.normal(size=10))
    results = write_results(tmp_path / "r", {("B", seed): HANDS for seed in (0, 1)}, **factors)
    results.target, results.factors = np.resize(results.target, (400, 21, 3)), results.factors.loc[np.arange(400) % 10]
    for seed in (0, 1):
        latent = rng.normal(size=(400, 128))
        save_analysis(results, "B", seed, latent=latent, latent_pose=latent[:, :64], read_rgb=latent[:, :64])
    one = measured(results, "background-out-B")
    assert one.at_chance and one.verdict == "undecided (both at chance)"
    assert not measured(results, "whole").at_chance


def test_every_claim_can_be_measured_and_is_named_once():
    assert len({claim.name for claim in CLAIMS}) == len(CLAIMS)
    for claim in CLAIMS:
        assert claim.kind in claims.KINDS and claim.direction in (-1, 1)
        assert {side.split()[0] for side in (claim.row, claim.base)} <= set(ROWS)
        assert claim.control is None or claim.control in CONTROLS
    assert isinstance(CLAIMS[0], Claim)


def test_the_forest_plot_shows_every_effect_and_the_claimed_side(results):
    shown = [one for one in measure_claims(results) if one.against_base and one.claim.kind == "mepe"]
    figure = claims.error_plot(shown, "synthetic, tiny")
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [f"{one.claim.row} − {one.claim.base}" for one in shown]
    assert axes.get_xlabel() == "difference in MEPE (mm), synthetic, tiny"
    for one, side in zip(shown, axes.collections):
        x = side.get_paths()[0].vertices[:, 0]
        assert np.sign(x[np.abs(x).argmax()]) == one.claim.direction
    dots = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o" and len(line.get_xdata())]
    assert dots == pytest.approx([one.against_base.mean for one in shown])
    plt.close("all")


def test_gradients_that_float16_has_scaled_are_none(tmp_path):
    history = [{"stage": "disentangle", "gradients": {"backbone, first layer": 1.0}}]
    results = write_results(tmp_path, {("A", 0): moved_by(9.0)}, {("A", 0): history})
    assert len(gradient_norms(results["A", 0])) == 1
    card = tmp_path / "A-seed0" / "run.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | {"precision": "16-mixed"}))
    with pytest.raises(FileNotFoundError, match="no gradient norms"):
        gradient_norms(Results(tmp_path)["A", 0])


def test_the_papers_change_is_held_against_the_interval_of_the_same_two_rows(results):
    """Not against that of a control, which the paper has not."""
    align = measured(results, "align")
    ours = align.against_base
    inside = ours.low <= align.paper * ours.base <= ours.high
    assert align.paper_inside == inside and align.against_control is not None
    wide = replace(align, against_base=replace(ours, bootstrap=(-ours.base, ours.base)))
    far = replace(align, against_base=replace(ours, bootstrap=(0.1, 0.2), over_seeds=(0.1, 0.2)))
    assert wide.paper_inside is True and far.paper_inside is False
    assert replace(align, against_base=replace(ours, seeds=(0,))).paper_inside is None and measured(results, "bones-kcs").paper_inside is None


def test_a_losses_share_is_of_what_the_last_epoch_minimised():
    run = SimpleNamespace(history=[{"mse_rgb": 0.9}, {"stage": "refine", "mepe": 31.0, "mse_rgb": 0.3, "kcs": 0.1, "seconds": 70.0}])
    assert claims.loss_share(run, "kcs") == pytest.approx(0.25)


def test_a_page_says_what_its_networks_learnt_from():
    card = {"preset": "desktop", "frames": {"training": 16384}, "weights": "a warm-up on the training pictures"}
    assert training_size(card) == "trained on 16384 frames, crops of 64 px, epochs: 10 of warm-up, then 2 + 2 + 1 in stages 1 to 3"
    card |= {"preset": "quick+weights=hands", "weights": "file hands"}
    assert training_size(card).endswith("epochs: 3 + 2 + 1 in stages 1 to 3; where the backbone starts: file hands")


def test_claims_compare_what_the_paper_compares():
    """The paper's own figures go the way that it says; what has none sets a row with a part more beside one without."""
    for claim in CLAIMS:
        change = paper_change(claim)
        if change is not None:
            assert np.sign(change) == claim.direction, claim.name
        elif claim.kind not in claims.PROBED:
            row, base = ({part for part in PARTS if getattr(find_row(one), part)} for one in (claim.row, claim.base))
            assert row > base, claim.name
        assert claim.control is None or CONTROLS[claim.control].builds_on == claim.base, claim.name
