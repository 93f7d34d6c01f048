"""The harness of Table 3's seven methods: picture coordinates, crops' cameras, and each method end to end at tiny size."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from handpose import load, peers
from handpose.cost import cost_of, training_speeds
from handpose.data import write_synthetic
from handpose.data.augment import draw_augmentation, in_plane, warp
from handpose.experiments import PEERS, PRESETS, TABLE_3, find_preset, find_row, row_name, row_stages, stage_owner, stage_settings
from handpose.geometry import hand_scale, palm_centre, view_rotation
from handpose.metrics import mepe
from handpose.peers import parts
from handpose.peers.iqbal import Latent25D
from handpose.peers.picture import WithPicture, camera_of, crop_cameras, from_picture, root_depth, to_picture
from handpose.results import obtain
from handpose.runs import prepare_data, run_row, training_code

TINY = "smoke+training=40+evaluation=12+batch=16"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module", params=["crop", "homography"])
def data(request, folder):
    return request.param, prepare_data(f"{TINY}+view={request.param}", output_dir=folder, progress=False)


def hands(seed, count=4):
    """Random hands in front of a camera, with all that ``to_picture`` asks for."""
    draws = np.random.default_rng(seed)
    xyz = draws.normal(0, 40, (count, 21, 3)) + [[[*draws.uniform(-100, 100, 2), draws.uniform(400, 900)]]]
    K = np.array([[300.0, 0, 160], [0, 310, 120], [0, 0, 1]]).repeat(count).reshape(3, 3, count).transpose(2, 0, 1)
    centre, view = draws.uniform(50, 250, (count, 2)), ("crop", "homography")[seed % 2]
    cameras = camera_of(K, centre, draws.uniform(40, 200, count), draws.random(count) < 0.5, view_rotation(centre, K), view)
    return xyz, cameras, palm_centre(xyz), hand_scale(xyz)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6))
def test_the_picture_and_back_is_the_same_pose(seed):
    xyz, cameras, root, scale = hands(seed)
    picture = to_picture(xyz, cameras, root, scale)
    assert np.abs(from_picture(picture, cameras, cameras.depth(root), scale) - xyz).max() < 1e-6


def test_depth_is_what_view_correction_leaves_of_it():
    """The same hand seen elsewhere in the picture has the same picture coordinates, up to the crop's scale."""
    xyz, K = hands(0, 1)[0], np.array([[[300.0, 0, 160], [0, 300, 120], [0, 0, 1]]])
    coordinates = []
    for centre in ([[160.0, 120]], [[310.0, 20]]):
        R = view_rotation(np.array(centre), K)
        turned = (xyz - xyz.mean(1, keepdims=True) + [0, 0, 600]) @ R  # in front of the camera there, as seen from it
        cameras = camera_of(K, np.array(centre), np.array([150.0]), np.array([False]), R)
        coordinates.append(to_picture(turned, cameras, palm_centre(turned), hand_scale(turned)))
    assert np.abs(coordinates[0][..., 2] - coordinates[1][..., 2]).max() < 1e-6


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6))
def test_the_reference_bone_gives_the_roots_depth(seed):
    """2.5D to 3D recovers a known pose exactly, with nothing but the bone's length."""
    xyz, cameras, root, scale = hands(seed)
    picture, true = to_picture(xyz, cameras, root, scale), cameras.depth(root)
    for one, other in ((9, 10), (0, 5)):
        bone = xyz[:, other] - xyz[:, one]
        length = np.linalg.norm(bone, axis=-1) / scale
        right = np.abs(scale * root_depth(picture, cameras, (one, other), length) - true) < 1e-4 * true
        rays = xyz / cameras.depth(xyz)[..., None]
        # The quadratic has two solutions; the larger is the right one where the bone gets longer as the root moves away.
        longer = ((rays[:, one] - rays[:, other]) * -bone).sum(-1) >= 0
        assert right[longer].all() and (longer.any() or seed)
    assert np.array_equal(root_depth(picture, cameras), root_depth(picture, cameras, (9, 10), 1.0))


def test_iqbals_bone_is_the_mean_of_the_hands_trained_on():
    networks = Latent25D()
    poses = torch.randn(10, 21, 3)
    for part in (poses[:4], poses[4:7], poses[7:]):
        networks.measure(part)
    assert torch.allclose(networks.palm, (poses[:, 0] - poses[:, 5]).norm(dim=-1).mean())
    xyz, cameras, root, scale = hands(2)
    picture = to_picture(xyz, cameras, root, scale)
    depth = scale * root_depth(picture, cameras, (0, 5), float(networks.palm))
    assert np.array_equal(networks.lift(picture, cameras, root, scale), from_picture(picture, cameras, depth, scale))


def test_crops_show_the_joints_where_the_cameras_say(data):
    view, data = data
    cameras = crop_cameras(data.training, data.frames("training"), view)
    picture = to_picture(data.training.target, cameras, data.training.root, data.training.scale)
    low, high = picture[..., :2].min(1), picture[..., :2].max(1)
    if view == "crop":  # the box around the joints, with its margin
        assert np.abs(low + high).max() < 1e-3 and np.abs((high - low).max(-1) - 1 / 1.3).max() < 1e-3
    else:
        assert np.abs(low + high).max() < 0.2
    assert np.abs(palm_centre(picture)[:, 2]).max() < 1e-4  # depth is counted from the root
    assert np.abs(picture[..., 2] - data.training.pose[..., 2]).max() < 1e-3  # along the axis of the poses that all others learn
    # A left hand's crop is mirrored, and so are its joints: x of picture and pose agree in sense in every frame.
    across = [np.corrcoef(one[:, 0], other[:, 0])[0, 1] for one, other in zip(picture, data.training.pose)]
    assert min(across) > 0.8


def test_picture_and_pose_are_turned_and_mirrored_together(data):
    view, data = data
    training = WithPicture(data.training, crop_cameras(data.training, data.frames("training"), view))
    assert training.pose.shape == (len(data.training), 42, 3) and training.pose.dtype == np.float32
    angle, flip = draw_augmentation(8, torch.Generator().manual_seed(0))
    crops, pose = torch.from_numpy(np.array(training.crops[:8])), torch.from_numpy(training.pose[:8])
    turned = warp(crops, pose, 32, angle, flip).pose
    A = in_plane(angle, flip)
    assert torch.allclose(turned[:, 21:, :2], pose[:, 21:, :2] @ A.transpose(1, 2), atol=1e-6)
    assert torch.equal(turned[:, 21:, 2], pose[:, 21:, 2])


def test_true_picture_coordinates_lift_to_the_true_pose(data):
    view, data = data
    shards = data.evaluation
    cameras = crop_cameras(shards, data.frames("evaluation"), view)
    picture = to_picture(shards.target, cameras, shards.root, shards.scale)
    again = from_picture(picture, cameras, cameras.depth(shards.root), shards.scale)
    assert np.abs(again - shards.target).max() < 1e-2


@pytest.mark.parametrize("side", [1, 2, 3])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_deconvolution_of_a_small_map_is_a_transposed_convolution(side, layout):
    layer = parts.deconvolutions(5, (7,))[0].double().to(memory_format=layout)
    maps = torch.randn(3, 5, side, side, dtype=torch.double).contiguous(memory_format=layout).requires_grad_()
    usual = torch.nn.functional.conv_transpose2d(maps, layer.weight, stride=2, padding=1)
    torch.testing.assert_close(layer(maps), usual)
    weights = torch.randn_like(usual)
    ours, theirs = (torch.autograd.grad((out * weights).sum(), (maps, layer.weight)) for out in (layer(maps), usual))
    torch.testing.assert_close(ours, theirs)


def test_soft_argmax_of_a_known_map():
    maps = torch.zeros(1, 21, 4, 8)
    maps[:, :, 1, 6] = 1
    assert torch.allclose(parts.soft_argmax(maps), torch.tensor([6.5 / 8 - 0.5, 1.5 / 4 - 0.5]).expand(1, 21, 2))
    maps[:, :, 1, 6], maps[:, :, 1, 5] = 0.5, 0.5
    assert torch.allclose(parts.soft_argmax(maps)[..., 0], torch.tensor(6 / 8 - 0.5))


def test_gaussian_maps_peak_at_their_joint():
    xy = torch.tensor([[1.5 / 8 - 0.5, 6.5 / 8 - 0.5]]).expand(1, 21, 2)
    maps = parts.gaussian_maps(xy, 8, 8, 0.1)
    assert maps.shape == (1, 21, 8, 8) and maps[0, 0, 6, 1] == 1 and maps.flatten(2).argmax(-1).unique().tolist() == [6 * 8 + 1]
    probability = maps / maps.sum((-2, -1), keepdim=True)
    wide = parts.gaussian_maps(torch.zeros(1, 21, 2), 64, 64, 0.05)
    assert torch.allclose(parts.soft_argmax(wide / wide.sum((-2, -1), keepdim=True)), torch.zeros(1, 21, 2), atol=1e-6)
    assert probability.sum((-2, -1)).allclose(torch.ones(1, 21))


def test_a_far_camera_needs_no_calibration():
    """``flat`` is exact in the limit of a far hand whose unit bone lies across."""
    pose = torch.randn(3, 21, 3)
    pose[:, 10] = pose[:, 9] + torch.tensor([0.6, 0.0, 0.8])
    picture = torch.cat([0.05 * pose[..., :2], pose[..., 2:]], -1)
    assert torch.allclose(parts.flat(picture), pose, atol=1e-5)


def test_peers_are_rows():
    assert set(PEERS) == {"Zimmermann", "Moon", "Yang", "Spurr", "Gu", "Iqbal", "Theodoridis"}
    assert {peer.published for peer in PEERS.values()} == set(TABLE_3) - {"proposed"}
    stages = [stage for peer in PEERS.values() for stage in peer.stages]
    assert len(set(stages)) == len(stages) and not set(stages) & {"warmup", "disentangle", "further", "align", "refine"}
    for name, peer in PEERS.items():
        assert find_row(name) is peer and row_name(peer) == name and peer.paper == TABLE_3[peer.published].rhd
        assert all(stage_owner(stage, name) == name for stage in peer.stages)
        assert row_stages(name, "quick")[:-len(peer.stages)] == ("warmup",)
        assert stage_settings(peer.stages[0], name, "quick", 3)["seed"] == 3
    with pytest.raises(ValueError, match="no stage 'align'"):
        stage_settings("align", "Iqbal", "quick", 0)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", PEERS)
def test_every_method_sees_as_many_images_as_the_papers_own(name, preset):
    settings, peer = find_preset(preset), PEERS[name]
    epochs = {stage: peers.epochs(peer.module, stage, settings) for stage in peer.stages}
    assert min(epochs.values()) >= 1
    assert sum(epochs.values()) - epochs.get("lifting", 0) == parts.budget(settings)  # lifting looks at no picture


@pytest.mark.parametrize("name", PEERS)
def test_a_method_trains_and_predicts_end_to_end(name, folder):
    run = run_row(name, preset=TINY, output_dir=folder, progress=False, device="cpu")
    assert run.card["row"] == name and run.card["training_code"] == training_code(name) != training_code()
    assert run.predictions.shape == (12, 21, 3) and np.isfinite(run.predictions).all()
    data = prepare_data(TINY, output_dir=folder, progress=False)
    assert mepe(run.predictions, data.evaluation.target) == pytest.approx(run.card["metrics"]["mepe"])
    again = run_row(name, preset=TINY, output_dir=folder, progress=False, device="cpu")
    assert again.folder == run.folder
    # One picture through ``load`` is what the evaluation saw.
    frame = data.frames("evaluation")[int(data.evaluation.frame[0])]
    low, high = frame.uv.min(0), frame.uv.max(0)
    one = load(run.folder)(frame.image, frame.K, (*low, *high), frame.hand, data.evaluation.root[0], float(data.evaluation.scale[0]))
    centred = [pose - palm_centre(pose) for pose in (one, run.predictions[0])]
    assert np.abs(centred[0] - centred[1]).max() < 0.5
    relative = load(run.folder)(frame.image, frame.K, (*low, *high), frame.hand, scale=float(data.evaluation.scale[0]))
    assert np.linalg.norm(palm_centre(relative)) < (1e-6 if run.networks().__class__.__dict__.get("in_picture") else 200)


@pytest.fixture(scope="module")
def stb(tmp_path_factory):
    return write_synthetic(tmp_path_factory.mktemp("stb") / "hands", "stb", training=20, evaluation=4, workers=1)


@pytest.mark.parametrize("name", PEERS)
def test_a_method_goes_through_on_stbs_layout(name, stb, folder):
    """Left hands, a palm centre for a wrist, another camera: around which errors are measured there."""
    options = dict(preset="smoke+batch=8", dataset="stb", data_root=stb, output_dir=folder, progress=False)
    run, data = run_row(name, device="cpu", **options), prepare_data(**options)
    assert run.card["dataset"] == "stb" and run.card["root_joint"] == data.root_joint == "wrist" and run.card["rendered"]
    assert run.predictions.shape == (len(data.evaluation), 21, 3) and np.isfinite(run.predictions).all()
    assert mepe(run.predictions, data.evaluation.target, root="wrist") == pytest.approx(run.card["metrics"]["mepe"])


@pytest.mark.parametrize("name", PEERS)
def test_what_is_known_is_said(name):
    table = peers.what_we_know(PEERS[name].module)
    words = table["known, assumed or scaled"].str.split(r"[:;, ]").str[0]
    assert len(table) >= 5 and set(words) <= {"known", "assumed", "scaled"} and len(set(words)) > 1


@pytest.mark.parametrize("name", [*PEERS, "D3", "baseline"])
def test_cost_counts_what_predicts(name):
    cost = cost_of(name, "quick")
    assert 2e6 < cost.parameters < 4e7 and 5e7 < cost.multiply_adds < 2e9
    if name == "baseline":  # ResNet-18 has 11.2 million without its classes, and 148 million multiply-adds at 64 px
        assert cost.parameters < 12.6e6 and cost.multiply_adds == pytest.approx(1.49e8, rel=0.05)
    assert cost_of(name, "quick+size=128").multiply_adds > 2 * cost.multiply_adds


def test_speeds_are_measured_in_turns():
    speeds = training_speeds(("Spurr", "Zimmermann", "D3"), TINY, repeats=1)
    assert list(speeds) == ["Spurr", "Zimmermann", "D3"] and min(speeds.values()) > 1


def test_a_methods_identity_knows_the_files_that_it_stands_on(monkeypatch):
    assert len({training_code(name) for name in (*PEERS, "D3")}) == len(PEERS) + 1
    monkeypatch.setattr(peers, "source_digest", lambda *files: set(files))
    shared = {"peers/__init__.py", "peers/parts.py", "peers/picture.py"}
    assert peers.code("moon") == shared | {"peers/moon.py"}
    assert peers.code("yang") == shared | {"peers/yang.py", "peers/spurr.py"}


@pytest.mark.parametrize("name", PEERS)
def test_weights_of_the_preset_reach_their_terms(name):
    """Divergences and adversaries weigh what the preset says, all else what it did."""
    images, pose, picture = torch.randn(4, 3, 32, 32), torch.randn(4, 21, 3), torch.rand(4, 21, 3) * 0.6 - 0.3
    module, smoke = peers.module(PEERS[name].module), PRESETS["smoke"]
    weighted = dataclasses.replace(smoke, beta=3 * smoke.beta, adversarial_weight=3 * smoke.adversarial_weight)
    for stage in PEERS[name].stages:
        found = []
        for preset in (smoke, weighted):
            torch.manual_seed(0)
            found.append(module.STAGES[stage](module.NETWORKS(), preset).cost(images, pose, picture, 0))
        for term, value in found[0].items():
            ratio = 3 if term.startswith("kl") or term == "encoders" else 1
            torch.testing.assert_close(found[1][term], ratio * value, msg=f"{stage}: {term}")
            assert value < 0.1 or not term.startswith("kl")


def test_settings_of_another_method_do_not_matter():
    settings = stage_settings("latent25d", "Iqbal", "quick", 0)
    assert settings["peer"] == "iqbal" and "geo_weight" not in settings
    assert dataclasses.asdict(find_preset("quick")).keys() >= settings.keys() - {"stage", "seed", "peer"}


def test_a_method_of_ones_own_is_one_entry(folder, monkeypatch):
    """It stands in no table of the paper's, so that no figure is quoted for it."""
    monkeypatch.setitem(PEERS, "Mine", dataclasses.replace(PEERS["Iqbal"], published="Me 2026", stages=("latent25d",)))
    monkeypatch.delitem(PEERS, "Iqbal")
    result = obtain("Mine", preset=TINY, output_dir=folder, progress=False, device="cpu")
    assert result.card["row"] == "Mine" and result.card["paper"] is None and result.card["metrics"]["mepe"] > 0
