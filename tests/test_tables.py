import json
import re
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from handpose import tables_peers
from handpose.effects import paired_effect
from handpose.experiments import TABLE_3, find_preset
from handpose.metrics import root_of
from handpose.results import RECORDED, Results
from handpose.skeleton import JOINTS
from handpose.tables import PAPER, PROTOCOLS, ablation_table, counted, mean_and_spread, per_finger_table, per_joint_table, trained_apart
from handpose.tables_html import amount, as_html, claims_html, interval, verdict_html
from handpose.tables_peers import comparison_table, peers_effects, peers_table, runs_table, standing, standings, with_true_root

HANDS = np.random.default_rng(0).uniform(-60, 60, (10, 21, 3)).round(2)
HANDS -= ((HANDS[:, 0] + HANDS[:, 9]) / 2).round(2)[:, None]  # relative to the root, but for a rounding


def moved_by(error, joints=tuple(j for j in range(21) if j not in (0, 9))):
    """The true poses with some joints moved by ``error`` mm: the wrist and middle MCP stay, so the root does."""
    pose = HANDS.copy()
    pose[:, list(joints), 0] += error
    return pose


def write_results(folder, predictions, histories=None, **factors):
    """Results on disk as ``results`` describes them: {(row, seed): poses}; the mean pose is 20.5 mm off in 19 joints."""
    folder.mkdir(exist_ok=True, parents=True)

    def stored(**poses):
        return {name: pose.astype(np.float32) for name, pose in poses.items()}

    factors = {f"factor_{name}": values for name, values in factors.items()}
    np.savez(folder / "frames.npz", **stored(target=HANDS, mean_pose=moved_by(20.5)), **factors, visible=np.ones((10, 21), bool),
             left=np.arange(10) % 2 == 0, frame=np.arange(10), sample=np.zeros((0, 8, 8, 3), np.uint8), root_joint="palm",
             fingerprint="f")  # fmt: skip
    for (row, seed), pose in predictions.items():
        place = folder / f"{row}-seed{seed}"
        place.mkdir()
        np.savez(place / "predictions.npz", **stored(predicted=pose))
        (place / "history.json").write_text(json.dumps((histories or {}).get((row, seed), [])))
        card = {"row": row, "seed": seed, "dataset": "synthetic", "preset": "tiny", "frames": {"training": 96}}
        (place / "run.json").write_text(json.dumps(card))
    return Results(folder)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    errors = {("baseline", 0): 21.0, ("baseline", 1): 42.0, ("A", 0): 10.5, ("A", 1): 31.5, ("A", 2): 63.0}
    return write_results(tmp_path_factory.mktemp("results"), {key: moved_by(error) for key, error in errors.items()})


@pytest.fixture(scope="module")
def table(results):
    return ablation_table(results, ["baseline", "A", "B"])


def test_rows_stand_under_the_mean_pose_with_mean_and_spread_over_seeds(table):
    assert list(table.index.get_level_values("row")) == ["mean pose", "baseline", "A", "B"]
    assert list(table.index.get_level_values("parts")) == ["", "plain decoder", "injection", "injection + disentangle"]
    ours = table["synthetic, tiny, 2 to 3 seeds"]
    # 19 of 21 joints are off; the mean over all 21 is 18.55; 19, 38; 9.5, 28.5, 57
    assert list(ours["MEPE (mm)"]) == ["18.55", "28.50 ± 13.44", "31.67 ± 23.91", "not run"]
    # 2 of 21 joints are right at 20 mm, all from 21 mm on
    assert ours["AUC 20-50"].iloc[0] == f"{(30 - 0.5 + 2 / 21 * 0.5) / 30:.3f}"
    assert ours["AUC 20-50"].iloc[3] == "not run"


def test_changes_are_paired_by_seed(table, results):
    # seed 0: -50 %, seed 1: -25 %; seed 2 has no baseline
    assert list(table["synthetic, tiny, 2 to 3 seeds", "change"]) == ["", "", "-37.5 %", ""]
    assert list(table["paper, RHD", "MEPE (mm)"]) == ["", "15.71", "15.08", "14.77"]
    assert list(table["paper, RHD", "change"]) == ["", "", "-4.0 %", "-2.1 %"]
    one = ablation_table(results, ["A"], seeds=[1])
    assert list(one["synthetic, tiny, 1 seed", "MEPE (mm)"]) == ["18.55", "28.50"]
    assert one["synthetic, tiny, 1 seed", "change"].iloc[1] == "-25.0 %"


def test_a_table_of_rows_that_have_not_been_run(results):
    table = ablation_table(results, ["D3", "D0-longer"])
    assert list(table["ours", "MEPE (mm)"]) == ["18.55", "not run", "not run"]
    assert list(table["paper, RHD", "MEPE (mm)"]) == ["", "13.88", ""]


def test_a_row_that_is_none_is_refused(results):
    with pytest.raises(ValueError, match="no row 'E'"):
        ablation_table(results, ["E"])


def test_spread():
    assert mean_and_spread([1.0, 2.0, 3.0], 1) == "2.0 ± 1.0"
    assert mean_and_spread([2.0], 3) == "2.000"
    assert mean_and_spread([], 3) == "not run"


def test_our_figures_lead_to_their_rows_page_and_the_papers_do_not(table):
    text = as_html(table)
    lines = {re.sub("<[^>]+>", "", line.split("</th>")[0]): line for line in re.findall("<tr>(.*?)</tr>", text)}
    links = re.findall('<a href="([^"]+)">([^<]+)</a>', lines["A"])
    assert {address for address, _ in links} == {"row-A.html"}
    assert [cell for _, cell in links][:2] == ["A", "31.67 ± 23.91"] and links[-1][1] == "-37.5 %"
    assert "15.08" in lines["A"] and "15.08" not in [cell for _, cell in links]
    assert "<a" not in lines["mean pose"] and "<a" not in lines["B"]
    assert text.startswith('<div class="results-table" style="overflow-x: auto"')
    centred = ' style="text-align: center"'
    for width, name in ((3, "synthetic, tiny, 2 to 3 seeds"), (2, "paper, RHD")):
        assert f'<th scope="col" colspan="{width}"{centred}>{name}</th>' in text


def test_html_is_escaped_and_well_formed(results):
    odd = pd.DataFrame({("a & b", "<i>"): ['"x" < 1', 2.0], ("a & b", "c"): ["", "y"]}, index=pd.Index(["A", "<b>"], name="row"))
    odd.columns = pd.MultiIndex.from_tuples(odd.columns)
    text = as_html(odd, 'p"{}.html', caption="<caption>")
    box = ElementTree.fromstring(text)
    assert [cell.text for cell in box.iter("caption")] == ["<caption>"]
    assert [link.get("href") for link in box.iter("a")] == ['p"A.html'] * 2 + ['p"<b>.html'] * 3
    assert "2.00" in text and "<a" not in as_html(odd, "")


def test_errors_by_joint_and_by_finger(tmp_path):
    results = write_results(tmp_path / "r", {("A", 0): moved_by(4.0, [8]), ("A", 1): moved_by(8.0, [8, 1, 2])})
    joints = per_joint_table(results, ["mean pose", "A", "B"])
    assert list(joints.columns) == ["mean pose", "A"] and list(joints.index) == list(JOINTS)
    np.testing.assert_allclose(joints["A"], [0, 4, 4, 0, 0, 0, 0, 0, 6] + [0] * 12, atol=1e-5)
    fingers = per_finger_table(results, ["mean pose", "A"])
    assert list(fingers.index) == ["wrist", "thumb", "index", "middle", "ring", "little"]
    np.testing.assert_allclose(fingers["A"], [0, 2, 1.5, 0, 0, 0], atol=1e-5)
    np.testing.assert_allclose(fingers["mean pose"], 20.5 * np.array([0, 1, 1, 3 / 4, 1, 1]), atol=1e-5)
    assert list(per_joint_table(results, ["A"], seeds=[1])["A"].round(3)[:3]) == [0, 8, 8]


def claims_line(**changes):
    line = {"claim": "a < b", "where": "Table 1", "compared": "B pose part against A", "effect": "-1.00 mm (-2.0 %)",
            "95 % interval": "-2.00 to -0.50", "control": "", "effect against control": "", "its 95 % interval": "",
            "paper, RHD": "", "the paper's change": "", "seeds": "0, 1", "verdict": "supported"}  # fmt: skip
    return pd.DataFrame([line | changes], index=["injection"])


def test_claims_as_html():
    box = ElementTree.fromstring(claims_html(claims_line()))
    assert [cell.text for cell in box.iter("th")] == ["claim", "verdict", "measured, 95 % interval"]
    assert [(link.text, link.get("href")) for link in box.iter("a")] == [("B", "row-B.html"), ("A", "row-A.html")]
    assert "".join(list(box.iter("td"))[0].itertext()) == "a < bTable 1B pose part against A"
    assert [line.get("id") for line in box.iter("tr")][1] == "claim-injection"
    assert "<a" not in claims_html(claims_line(effect="not run"))
    paper = {"paper, RHD": "-4.0 %", "the paper's change": "inside our interval"}
    text = claims_html(claims_line(control="D0-longer", **{"effect against control": "+1"} | paper), "")
    assert "<small>D0-longer</small>" in text and "paper, RHD: change" in text and "<a" not in text
    assert "-4.0 %<br/><small>inside our interval</small>" in text


def test_each_verdict_has_its_colour():
    words = ("supported", "not supported", "undecided at this scale", "not run")
    colours = [re.search("background: (#[0-9a-f]{6})", verdict_html(word))[1] for word in words]
    assert len(set(colours)) == 4
    assert all(f">{word}</span>" in verdict_html(word) for word in words)


def test_amounts_in_words():
    one = paired_effect([[9.0, 9.0]], [[10.0, 10.0]])
    assert [amount(one, unit) for unit in ("mm", "% of joints", "score")] == ["-1.00 mm (-10.0 %)", "-1.00 % of joints", "-1.000 (9.000 against 10.000)"]
    assert interval(one, "mm") == "none with one seed" and interval(None, "mm") == "" and amount(None, "mm") == "not run"
    none = paired_effect([[1.001, 0.998], [1.0, 1.0]], np.ones((2, 2)))
    assert amount(none, "mm") == "0.00 mm (0.0 %)"  # what is nothing has no sign


def test_table_3_sets_our_row_beside_the_quoted_figures_and_leaves_the_others_out(tmp_path):
    table = comparison_table(write_results(tmp_path, {("D3", 0): moved_by(21.0), ("D3", 1): moved_by(42.0)}))
    assert list(table.columns.get_level_values(0).unique()) == ["paper, RHD", "paper, STB", "synthetic, tiny, 2 seeds"]
    assert list(table.loc["proposed"])[:4] == ["13.88", "0.930", "6.71", "0.997"]
    assert table.loc["proposed"].iloc[4] == mean_and_spread([21 * 19 / 21, 42 * 19 / 21], 2)
    assert list(table.loc["Iqbal et al. 2018"]) == ["15.77", "", "", "", "not run", "not run"]
    page = as_html(table)
    assert page.count("row-D3.html") == 3  # the name and our two figures, not the paper's


def test_several_runs_stand_side_by_side_each_with_its_best(tmp_path):
    few = {("D3", 0): moved_by(21.0), ("Iqbal", 0): moved_by(10.5)}
    many = {("D3", 0): moved_by(21.0), ("D3", 1): moved_by(42.0), ("baseline-longer", 0): moved_by(42.0)}
    runs = {name: write_results(tmp_path / name, run) for name, run in {"few": few, "many": many}.items()}
    for path in tmp_path.glob("*/*/run.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"settings": {"size": 64}}))
    table, best = runs_table(runs)
    assert list(table.columns) == [("few", "96 frames, 64 px"), ("many", "96 frames, 64 px")]
    ours = mean_and_spread([21 * 19 / 21, 42 * 19 / 21], 2)
    assert list(table.loc["proposed"]) == ["19.00", ours] and list(table.loc["Iqbal et al. 2018"]) == ["9.50", "not run"]
    assert list(table.loc["baseline, trained as long"]) == ["not run", "38.00"] and list(table.loc["baseline"]) == ["not run"] * 2
    assert best == {"few": "Iqbal et al. 2018, 9.50 mm", "many": f"proposed, {ours} mm"}


def test_table_3_with_methods_that_were_trained_here(tmp_path):
    run = {("D3", 0): moved_by(21.0), ("D3", 1): moved_by(21.0), ("Iqbal", 0): moved_by(10.5), ("Iqbal", 1): moved_by(31.5), ("Moon", 4): moved_by(1.0)}
    history = [{"stage": "warmup", "steps": 10}, {"stage": "latent25d", "steps": 2}]
    results = write_results(tmp_path, run, {("Iqbal", 0): history, ("Iqbal", 1): history})
    for row in ("D3", "Iqbal"):  # a real preset, for the networks' size
        for seed in (0, 1):
            card = tmp_path / f"{row}-seed{seed}" / "run.json"
            card.write_text(card.read_text().replace("tiny", "smoke"))
    table = comparison_table(results, [0, 1])
    assert table.loc["Iqbal et al. 2018"].iloc[4] == mean_and_spread([10.5 * 19 / 21, 31.5 * 19 / 21], 2)
    assert "row-Iqbal.html" in as_html(table) and "row-Moon.html" not in as_html(table)
    effects = peers_effects(results, [0, 1])
    assert list(effects) == ["Iqbal et al. 2018"]  # Moon shares no seed with D3
    assert effects["Iqbal et al. 2018"].per_seed == pytest.approx([10.5 * 19 / 21, -10.5 * 19 / 21], abs=0.01)
    cost = peers_table(results, [0, 1])
    assert list(cost.index) == list(comparison_table(results).index)
    assert cost.loc["Iqbal et al. 2018", "images seen"] == f"{12 * find_preset('smoke').batch}"
    assert min(int(cost.loc[method, "images/s, slowest stage"]) for method in ("Iqbal et al. 2018", "proposed")) > 0
    assert cost.loc["Iqbal et al. 2018", "share of mean pose's"] == f"{21 / 20.5:.2f}"
    assert cost.loc["Gu et al. 2020"].tolist() == ["not run", "", "not run", "", "", "", ""]


def test_images_seen_are_those_that_were_looked_at():
    card = {"preset": "smoke+batch=64", "frames": {"training": 96}}
    for row, stages, expected in (("Spurr", {"warmup": 3, "crossmodal": 6}, 3 + 4), ("Zimmermann", {"scoremaps": 5, "lifting": 50}, 5),
                                  ("D3", {"disentangle": 1, "align": 2, "refine": 3}, 6)):  # fmt: skip
        run = SimpleNamespace(card=card, history=[{"stage": stage, "steps": steps} for stage, steps in stages.items()])
        assert tables_peers._pictures_seen(row, run) == 64 * expected
    few = SimpleNamespace(card=card | {"frames": {"training": 20}}, history=[{"stage": "align", "steps": 2}])
    assert tables_peers._pictures_seen("D0", few) == 40


def test_of_every_published_figure_the_same_table_says_how_it_was_measured(results):
    table = comparison_table(results, protocols=True)
    assert len(table) == 8 and table.iloc[:, :-2].equals(comparison_table(results))
    assert list(table.columns.get_level_values(0).unique())[::3] == [PAPER, PROTOCOLS]
    words = table[PROTOCOLS]
    assert (words["measured how"] != "").all() and (words["comparable with its own?"][:-1] != "").all()
    assert f'<td class="words">{TABLE_3["Moon et al. 2020"].comparable}</td>' in as_html(table)


def test_table_3_without_our_row_says_so(results):
    assert (comparison_table(results).iloc[:, -2:] == "not run").all(axis=None)


def test_seeds_are_counted_in_words():
    assert counted({"A": [0, 1, 2], "B": [3, 4, 5], "C": []}) == "3 for each row (A, B)"
    assert counted({"A": [0, 1], "B": [0]}) == "A: 2, B: 1" and counted({"A": [7]}) == "A: 1"


def test_what_is_not_alike_in_training_is_said():
    def run(seed, precision, warmup="a"):
        stages = {"warmup": {"identity": warmup}} if warmup else {}
        card = {"seed": seed, "precision": precision, "stages": stages, "frames": {"training": 9}, "mean_pose": {"mepe": 72.0}}
        return SimpleNamespace(card=card)

    both = [run(0, "bf16-mixed"), run(1, "32-true"), run(2, "32-true")]
    shown = {"Gu": both, "proposed": [run(0, "bf16-mixed")], "Yang": both}
    assert trained_apart(shown) == [
        "not all are trained in the same precision:",
        "  bf16-mixed (seed 0) and 32-true (seeds 1, 2): Gu, Yang",
        "  bf16-mixed (seed 0): proposed",
    ]
    heading, *lines = trained_apart({"A": [run(0, "32-true")], "B": [run(0, "32-true", "b")], "C": [run(3, "32-true", "")]})
    assert "not all start from the same warm-up" in heading
    assert lines == ["  warm-up a (seed 0): A", "  warm-up b (seed 0): B", "  no warm-up (seed 3): C"]
    fewer = run(0, "32-true")
    fewer.card["mean_pose"] = {"mepe": 72.5}
    assert trained_apart({"A": [run(0, "32-true")], "B": [fewer]}) == [
        "not all learn from the same hands, so they don't compare:", "  9 hands, whose mean pose gets 72.00 mm (seed 0): A",
        "  9 hands, whose mean pose gets 72.50 mm (seed 0): B"]
    mixed = run(0, "bf16-mixed")
    mixed.card["stages"] |= {"disentangle": {"precision": "32-true"}, "align": {"precision": "bf16-mixed"}}
    mixed.card["stages"]["warmup"]["precision"] = "32-true"
    assert trained_apart({"baseline": [run(0, "32-true")], "C": [mixed], None: []})[1:] == [
        "  32-true (seed 0): baseline", "  32-true and bf16-mixed (seed 0): C"]
    assert trained_apart({"A": [run(0, "32-true")], "B": [run(1, "32-true")]}) == trained_apart({}) == trained_apart({"A": []}) == []


def effect_of(*per_seed):
    return paired_effect([[9.0 + one] * 4 for one in per_seed], np.full((len(per_seed), 4), 9.0), tuple(range(len(per_seed))))


def test_where_the_proposed_method_stands_is_counted_by_verdicts():
    clear, split, alone = effect_of(-1.0, -1.1, -0.9), effect_of(-1.0, 1.1, 0.1), effect_of(-1.0)
    effects = {"Gu": clear, "Moon": effect_of(1.0, 1.1, 0.9), "Yang": split, "Iqbal": alone}
    assert alone.high < 0  # and still no verdict
    assert standings(effects) == {"better than": ["Gu"], "worse than": ["Moon"], "undecided against": ["Yang", "Iqbal"]}
    assert standing(effects) == "better than 1, worse than 1, 2 undecided"
    assert standing({"Iqbal": alone}) == "1 undecided (one seed)" and standing({}) == "not run"


def test_with_the_true_root_each_joint_stays_on_its_ray():
    rng = np.random.default_rng(0)
    root = rng.uniform(-50, 50, (5, 3)) + [0, 0, 600]
    true = HANDS[:5] + root[:, None]
    nearer = true * rng.uniform(0.7, 0.9, (5, 1, 1))  # as by a root that is found too near, for a hand as much smaller
    run = SimpleNamespace(uncentred=nearer - root[:, None], card={"preset": "quick"})
    results = SimpleNamespace(root=root, root_joint="palm", target=true - root[:, None])
    pose = with_true_root(results, run) + root[:, None]
    assert np.allclose(pose[..., :2] / pose[..., 2:], nearer[..., :2] / nearer[..., 2:], atol=0.02)
    rays = true[..., :2] / true[..., 2:]
    axis = np.c_[(rays.min(1) + rays.max(1)) / 2, np.ones(5)]  # the line of sight through the middle of the box
    axis = (axis / np.linalg.norm(axis, axis=-1, keepdims=True))[..., None]
    assert np.allclose(root_of(pose, "palm")[:, None] @ axis, root[:, None] @ axis, atol=0.2)  # the palm lies beside the root
    assert np.allclose((pose - root[:, None]) @ axis, (nearer - root_of(nearer, "palm")[:, None]) @ axis, atol=0.2)
    for without in (SimpleNamespace(root=None, root_joint="palm"), results):
        run.card["preset"] = "quick" if without is not results else "quick+view=homography"
        assert with_true_root(without, run) is None


def test_who_is_given_the_true_root_gains_nothing_by_it():
    recorded = Results(RECORDED / "synthetic-desktop")
    run = recorded["Moon", 0]
    assert np.abs(with_true_root(recorded, run) - run.predicted).mean() < 0.2  # its own palm lies a little beside the root
