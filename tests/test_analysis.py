import dataclasses
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from handpose import analysis, metrics
from handpose.data import RHD, write_shards, write_synthetic
from handpose.experiments import find_row
from handpose.records import read_json, write_json
from handpose.runs import Data
from handpose.stages import Networks
from handpose.train import make_fabric, predict

SIZE, COUNT = 32, 20


@pytest.fixture(scope="module", params=["crop", "homography"])
def data(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("analysis")
    root = write_synthetic(folder / "frames", training=1, evaluation=COUNT, size=64, seed=3)
    shards = write_shards(RHD(root, "evaluation"), folder / "shards", SIZE, progress=False, view=request.param)
    return Data(root, shards, shards)


def networks(row):
    torch.manual_seed(0)
    return Networks(find_row(row)).eval()


@pytest.fixture(scope="module")
def analysed(data):
    return analysis.analyse(networks("D3"), data, SIZE, pairs=6)


def test_redrawn_frames_are_the_stored_crops_and_the_changed_ones_are_not(data):
    rows = np.array([0, 3, 11, 19])
    assert 0 < data.evaluation.left[rows].sum() < 4
    crops = analysis.redraw(data, rows, 3, 64)
    stored = data.evaluation.crops[rows].astype(int)
    assert np.abs(crops["same"] - stored).max() <= 2
    for change in ("background", "light"):
        assert (np.abs(crops[change] - stored).mean((1, 2, 3)) > 3).all()


def test_a_changed_background_leaves_the_hand_and_a_changed_light_does_not(data):
    rows = np.arange(8)
    crops = analysis.redraw(data, rows, 3, 64)
    # The hand is in the middle of the crop: the joints' box has a margin of 1.3, the crop one of 1.41 more.
    middle = slice(SIZE // 2, SIZE)
    changed = {name: np.abs(crops[name].astype(int) - crops["same"]).max(-1) for name in analysis.CHANGES}
    untouched = {name: (values[:, middle, middle] <= 1).mean() for name, values in changed.items()}
    assert untouched["background"] > 0.2 > untouched["light"]


def test_only_what_is_named_is_exchanged(data, monkeypatch):
    frames = []
    monkeypatch.setattr(analysis, "render", lambda frame: (np.zeros((64, 64, 3), np.uint8), frames.append(frame)))
    analysis.redraw(data, np.array([5]), 3, 64)
    names = [field.name for field in dataclasses.fields(frames[0])]
    differ = [{name for name in names if getattr(frame, name) is not getattr(frames[0], name)} for frame in frames]
    assert differ == [set(), {"background_kind", "background_seed"}, {"light"}]


def test_shapes_and_types(analysed):
    expected = {f"pair_{name}": (6, 21, 3) for name in ("same", "background", "light")}
    expected |= {"latent": (COUNT, 128), **dict.fromkeys(("latent_pose", "read_rgb", "read_pose"), (COUNT, 64)), "pair": (6,)}
    assert {name: array.shape for name, array in analysed.items()} == expected
    assert all(array.dtype == np.float16 for name, array in analysed.items() if name != "pair")
    assert analysed["pair"].tolist() == [0, 4, 8, 11, 15, 19]


def test_pairs_are_predictions_for_the_same_frames(analysed, data):
    predicted = predict(networks("D3"), data.evaluation, SIZE, make_fabric(device="cpu"))[analysed["pair"]]
    relative = predicted - metrics.root_of(predicted)[:, None]
    np.testing.assert_allclose(analysed["pair_same"], relative, atol=0.2)


def test_latents_are_the_means_that_the_networks_give(analysed, data):
    net, shards = networks("D3"), data.evaluation
    batch = analysis.warp(torch.from_numpy(np.array(shards.crops)), torch.from_numpy(shards.pose), SIZE)
    with torch.no_grad():
        latent, true = net.rgb_encoder(batch.images), net.pose_encoder(batch.pose)
        read = {"latent": latent, "latent_pose": true, "read_rgb": net.aligned(latent), "read_pose": net.pose_mapper(*true)}
    for name, (mean, _) in read.items():
        np.testing.assert_allclose(analysed[name], mean.numpy(), rtol=2e-3, atol=2e-3)


def test_without_alignment_the_decoder_reads_no_pose(data):
    for row, width in (("B", 64), ("baseline", 128)):
        arrays = analysis.analyse(networks(row), data, SIZE, pairs=1)
        assert "read_pose" not in arrays and arrays["read_rgb"].shape == (COUNT, width)
        np.testing.assert_array_equal(arrays["read_rgb"], arrays["latent"][:, :width])
    assert [block.shape[1] for block in analysis.latent_blocks(arrays).values()] == [128, 64]


@pytest.mark.parametrize("change", [{"layout": "stb"}, {"version": "0"}, None])
def test_frames_that_cannot_be_drawn_again_have_no_pairs(data, tmp_path, change):
    if change:
        write_json(tmp_path / "synthetic.json", read_json(data.root / "synthetic.json") | change)
    arrays = analysis.analyse(networks("B"), dataclasses.replace(data, root=tmp_path), SIZE)
    assert set(arrays) == {"latent", "latent_pose", "read_rgb"}


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("columns", [1, 3])
def test_a_probe_finds_what_is_planted(columns):
    features = noise(800, 64)
    target = features[:, :4] @ noise(4, columns, seed=1) + 0.05 * noise(800, columns, seed=2)
    found = analysis.probe(features * 1e-3 + 7, target.squeeze(), "regression")  # neither scale nor offset matter
    assert found.score > 0.95 and found.low <= found.score <= found.high and found.chance == 0


@pytest.mark.parametrize("seed", range(3))
def test_a_probe_finds_nothing_in_noise(seed):
    found = analysis.probe(noise(800, 64), noise(800, 2, seed=9), "regression", seed)
    assert found.low <= 0.05 and found.score < 0.05 and found.high > -0.05
    labels = np.random.default_rng(5).choice(["a", "b", "c"], 800, p=[0.6, 0.3, 0.1])
    found = analysis.probe(noise(800, 64), labels, "class", seed)
    assert found.low - 0.03 <= found.chance <= found.high + 0.03


def test_a_probe_is_as_good_as_the_signal():
    signal, rest = noise(4000, 1), noise(4000, 1, seed=1)
    found = analysis.probe(np.hstack([signal, noise(4000, 20, seed=2)]), signal + rest, "regression")  # half of the variance
    assert found.low < 0.5 < found.high and found.high - found.low < 0.1
    assert found.score == pytest.approx(0.5, abs=0.05)


def test_a_probe_tells_separable_classes_apart():
    labels = np.repeat(["wall", "leaves", "clouds", "leaves"], 50)
    centres = {"wall": [9, 0], "leaves": [0, 9], "clouds": [-9, -9]}
    features = np.array([centres[label] for label in labels]) + noise(200, 2)
    found = analysis.probe(features, labels, "class")
    assert (found.score, found.low, found.high) == (1, 1, 1)
    assert found.chance == 1 / 3


def test_a_rare_class_counts_as_much_as_a_common_one():
    """Nine of ten are leaves: who always says so is right nine times, and knows nothing."""
    labels = np.where(np.arange(2000) % 10, "leaves", "wall")
    nothing = analysis.probe(noise(2000, 8), labels, "class")
    assert nothing.low <= 0.5 <= nothing.high and nothing.chance == 0.5
    weak = noise(2000, 8) + np.outer(labels == "wall", np.eye(8)[0])  # one standard deviation apart: 69 of 100 of either kind
    found = analysis.probe(weak, labels, "class")
    assert found.low > 0.5 and found.score == pytest.approx(0.69, abs=0.08)


def test_a_probe_is_scored_on_frames_it_has_not_seen():
    # More features than frames: any target can be fitted, none can be foretold.
    assert analysis.probe(noise(60, 128), noise(60, seed=1), "regression").score < 0.3


@pytest.mark.parametrize(
    ("features", "target", "kind", "message"),
    [
        (noise(40, 3), noise(40), "circle", "kind"),
        (noise(40, 3), noise(39), "regression", "N targets"),
        (noise(40), noise(40), "regression", "N targets"),
        (noise(15, 3), noise(15), "regression", "too few"),
        (noise(40, 3) * np.nan, noise(40), "regression", "not finite"),
        (noise(40, 3), np.full(40, np.inf), "regression", "not finite"),
        (noise(40, 3), np.ones(40), "regression", "same"),
        (noise(40, 3), ["wall"] * 40, "class", "same"),
    ],
)
def test_a_probe_refuses(features, target, kind, message):
    with pytest.raises(ValueError, match=message):
        analysis.probe(features, target, kind)


class Frames(SimpleNamespace):
    """What ``results.Results`` gives, of frames that never were."""

    def __len__(self):
        return len(self.target)


@pytest.fixture
def results():
    rng = np.random.default_rng(4)
    names = ("view_x", "view_y", "view_z", "light_x", "light_y", "light_z", "kelvin", "exposure", "melanin")
    factors = {name: rng.normal(size=1000) for name in names}
    choices = {"hand": ["left", "right"], "background": ["wall", "leaves"], "subject": range(4)}
    factors |= {name: rng.choice(values, 1000) for name, values in choices.items()}
    return Frames(target=rng.normal(size=(1000, 21, 3)).astype(np.float32), factors=pd.DataFrame(factors))


def test_left_hands_are_mirrored_and_the_view_is_not(results):
    targets = analysis.probe_targets(results)
    left = (results.factors["hand"] == "left").to_numpy()
    np.testing.assert_array_equal(targets["light_x"], np.where(left, -1, 1) * results.factors["light_x"])
    for name in ("light_y", "light_z", "view_x", "view_y", "view_z"):
        np.testing.assert_array_equal(targets[name], results.factors[name])
    pose, scale = targets["pose"].reshape(-1, 21, 3), np.linalg.norm(results.target[:, 10] - results.target[:, 9], axis=1)
    np.testing.assert_allclose(pose[left] * [-1, 1, 1] * scale[left, None, None], results.target[left], atol=1e-5)
    np.testing.assert_allclose(pose[~left] * scale[~left, None, None], results.target[~left], atol=1e-5)


def test_the_mirror_image_of_a_frame_has_the_same_view():
    frame = analysis.draw_frame(0, "evaluation", 0, 64)
    flip = np.array([-1.0, 1.0, 1.0])
    other = "left" if frame.hand == "right" else "right"
    turn, position = frame.turn * flip[:, None] * flip, tuple(np.array(frame.position) * flip)
    mirrored = dataclasses.replace(frame, hand=other, turn=turn, position=position)
    np.testing.assert_allclose(mirrored.joints(), frame.joints() * flip, atol=1e-9)
    np.testing.assert_allclose(mirrored.view()[0], frame.view()[0], atol=1e-12)


def test_the_table_shows_where_a_factor_is(results):
    targets = analysis.probe_targets(results)
    latent = noise(1000, 128)
    latent[:, :63] += 5 * targets["pose"]
    latent[:, 100] = targets["light_x"]
    latent[:, 101] = results.factors["background"] == "wall"
    arrays = {"latent": latent, "latent_pose": noise(1000, 64, seed=1), "read_rgb": noise(1000, 64)}
    table = analysis.probe_table(SimpleNamespace(analysis=arrays), results)
    assert list(table.index) == list(analysis.PROBES)
    assert list(table.columns.get_level_values(0).unique()) == ["pose part", "context part", "true pose", ""]
    assert table.loc["pose", ("pose part", "score")] > 0.7 > 0.1 > table.loc["pose", ("context part", "score")]
    assert table.loc["background", ("context part", "score")] > 0.95 > 0.7 > table.loc["background", ("pose part", "score")]
    assert table.loc["light, direction", ("context part", "score")] == pytest.approx(1 / 3, abs=0.1)  # one of three numbers
    assert table.loc["background", ("", "measure")] == "balanced accuracy" and table.loc["skin", ("", "measure")] == "R²"
    assert table.loc["background", ("", "chance")] > 0.4 and table.loc["skin", ("", "chance")] == 0
    whole = analysis.probe_table(arrays | {"read_rgb": latent}, results)
    assert list(whole.columns.get_level_values(0).unique()) == ["all 128", "true pose", ""]


def test_the_table_refuses_other_frames_and_photographs(results):
    arrays = {"latent": noise(999, 128), "latent_pose": noise(999, 64), "read_rgb": noise(999, 64)}
    with pytest.raises(ValueError, match="999 frames"):
        analysis.probe_table(arrays, results)
    results.factors = pd.DataFrame()
    with pytest.raises(ValueError, match="photographs"):
        analysis.probe_targets(results)
