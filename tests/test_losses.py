import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from handpose import losses
from handpose.skeleton import BONES

SEEDS = st.integers(0, 2**32 - 1)


def hands(count, seed=0, dtype=torch.float64):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(count, 21, 3))).to(dtype)


def moved(joints, seed):
    """The same hands after one random rigid motion."""
    rng = np.random.default_rng(seed)
    R = torch.from_numpy(Rotation.random(random_state=seed % 2**31).as_matrix())
    return joints @ R.T + torch.from_numpy(rng.normal(size=3) * 10)


def test_mean_squared_error_is_a_mean_over_every_coordinate():
    predicted, target = torch.zeros(2, 21, 3), torch.zeros(2, 21, 3)
    predicted[1, 4, 2] = 3.0
    assert losses.mean_squared_error(predicted, target).item() == pytest.approx(9 / (2 * 21 * 3))


def test_kl_of_the_standard_normal_is_zero():
    assert losses.kl_divergence(torch.zeros(3, 5), torch.zeros(3, 5)).item() == 0.0


def test_kl_by_hand_sums_latents_and_averages_the_batch():
    mean = torch.tensor([[1.0, 2.0], [0.0, 0.0]], dtype=torch.float64)
    log_variance = torch.tensor([[0.0, math.log(2)], [0.0, 0.0]], dtype=torch.float64)
    # first hand: 0.5 * (1 + 1 - 1 - 0) + 0.5 * (4 + 2 - 1 - log 2); second hand: 0
    by_hand = (0.5 + 0.5 * (5 - math.log(2)) + 0.0) / 2
    assert losses.kl_divergence(mean, log_variance).item() == pytest.approx(by_hand, abs=1e-12)


@given(SEEDS)
@settings(deadline=None, max_examples=30)
def test_kl_agrees_with_torch_distributions(seed):
    generator = torch.Generator().manual_seed(seed)
    mean, log_variance = torch.randn(2, 4, 7, generator=generator, dtype=torch.float64)
    normal = torch.distributions.Normal
    other = torch.distributions.kl_divergence(normal(mean, (log_variance / 2).exp()), normal(0.0, 1.0)).sum(1).mean()
    value = losses.kl_divergence(mean, log_variance)
    assert value.item() == pytest.approx(other.item(), rel=1e-10)
    assert value >= 0


@given(SEEDS, st.floats(1e-8, 1e-2))
@settings(deadline=None, max_examples=50)
def test_kl_keeps_its_digits_near_the_standard_normal(seed, size):
    log_variance = size * torch.randn(3, 64, generator=torch.Generator().manual_seed(seed))
    value, exact = (losses.kl_divergence(torch.zeros_like(one), one).item() for one in (log_variance, log_variance.double()))
    assert value >= 0 and value == pytest.approx(exact, rel=1e-2, abs=1e-9)


def test_kl_refuses_shapes_that_differ():
    with pytest.raises(ValueError, match="differ in shape"):
        losses.kl_divergence(torch.zeros(2, 4), torch.zeros(2, 1))


def test_discriminator_that_knows_nothing_pays_log_2():
    assert losses.discriminator_loss(torch.zeros(4, 1), torch.zeros(4, 1)).item() == pytest.approx(math.log(2))


def test_discriminator_loss_is_eq_1_at_given_logits():
    rgb, true = np.array([[-1.5], [0.3], [2.0]]), np.array([[0.7], [-0.2], [4.0]])
    # Dis = sigmoid: RGB latents pay -log(1 - Dis), true ones -log(Dis)
    by_hand = 0.5 * np.log1p(np.exp(rgb)).mean() + 0.5 * np.log1p(np.exp(-true)).mean()
    value = losses.discriminator_loss(torch.from_numpy(rgb), torch.from_numpy(true))
    assert value.item() == pytest.approx(by_hand, rel=1e-12)


def test_generator_asks_for_the_opposite_label():
    rgb = np.array([[-1.5], [0.3], [2.0]])
    value = losses.generator_loss(torch.from_numpy(rgb))
    assert value.item() == pytest.approx(np.log1p(np.exp(-rgb)).mean(), rel=1e-12)
    fooled, caught = torch.full((2, 1), 9.0), torch.full((2, 1), -9.0)
    assert losses.generator_loss(fooled) < 1e-3 < losses.generator_loss(caught)


def test_kcs_holds_inner_products_of_bones():
    joints = hands(3)
    psi = losses.kinematic_chain_space(joints)
    assert psi.shape == (3, 20, 20)
    array = joints.numpy()
    for hand, (m, (a, b)), (n, (c, d)) in itertools.product(range(3), enumerate(BONES), enumerate(BONES)):
        inner = sum((array[hand, b, x] - array[hand, a, x]) * (array[hand, d, x] - array[hand, c, x]) for x in range(3))
        assert psi[hand, m, n].item() == pytest.approx(inner, abs=1e-10)


def test_kcs_diagonal_is_the_squared_bone_length():
    joints = hands(1)
    joints[0, 6] = joints[0, 5] + torch.tensor([3.0, 0.0, 4.0])
    assert losses.kinematic_chain_space(joints)[0, BONES.index((5, 6)), BONES.index((5, 6))].item() == pytest.approx(25.0)


def test_kcs_agrees_with_the_matrix_route_of_eqs_9_to_11():
    joints = hands(2)
    C = np.zeros((21, 20))
    for bone, (parent, child) in enumerate(BONES):
        C[child, bone], C[parent, bone] = 1, -1
    for hand in range(2):
        B = joints[hand].numpy().T @ C
        np.testing.assert_allclose(losses.kinematic_chain_space(joints)[hand].numpy(), B.T @ B, atol=1e-12)


@given(SEEDS)
@settings(deadline=None, max_examples=30)
def test_kcs_ignores_rigid_motion(seed):
    joints = hands(2, seed)
    difference = losses.kinematic_chain_space(moved(joints, seed)) - losses.kinematic_chain_space(joints)
    assert difference.abs().max() < 1e-9


def test_kcs_loss_is_the_mean_over_400_entries():
    joints = torch.zeros(2, 21, 3, dtype=torch.float64)
    stretched = joints.clone()
    stretched[0, 4, 1] = -2.0  # a finger tip moves: one bone, one entry of 400, of one hand of two
    assert losses.kcs_loss(stretched, joints).item() == pytest.approx(4.0 / 400 / 2)
    assert losses.kcs_loss(joints, stretched).item() == pytest.approx(4.0 / 400 / 2)


def test_there_are_3990_joint_line_distances_per_hand():
    distances = losses.joint_line_distances(hands(2))
    assert distances.shape == (2, 21, 190)
    assert distances[0].numel() == 3990
    assert (distances > 0).all()  # lines through the joint itself are not among them


def heron(p, q, r):
    """Height of p over the line q r, eqs. 14 and 15."""
    a, b, c = np.linalg.norm(p - q), np.linalg.norm(p - r), np.linalg.norm(q - r)
    s = (a + b + c) / 2
    return 2 * np.sqrt(s * (s - a) * (s - b) * (s - c)) / c


def test_joint_line_distances_agree_with_heron():
    joints = hands(2)
    distances = losses.joint_line_distances(joints).numpy()
    for hand, pose in enumerate(joints.numpy()):
        for i in range(21):
            others = [joint for joint in range(21) if joint != i]
            expected = [heron(pose[i], pose[j], pose[k]) for j, k in itertools.combinations(others, 2)]
            np.testing.assert_allclose(distances[hand, i], expected, rtol=1e-6, atol=1e-6)


def test_distance_is_to_the_line_and_not_to_the_segment():
    joints = hands(1)
    joints[0, 0] = torch.tensor([10.0, 3.0, 0.0])
    joints[0, 1] = torch.tensor([0.0, 0.0, 0.0])
    joints[0, 2] = torch.tensor([4.0, 0.0, 0.0])
    distances = losses.joint_line_distances(joints)[0]
    assert distances[0, 0].item() == pytest.approx(3.0)  # joint 0, line 1-2
    assert distances[1, 0].item() == pytest.approx(12 / math.sqrt(45))  # joint 1, line 0-2
    assert distances[2, 0].item() == pytest.approx(12 / math.sqrt(109))  # joint 2, line 0-1


@given(SEEDS, st.floats(0.1, 100))
@settings(deadline=None, max_examples=20)
def test_joint_line_distances_ignore_rigid_motion_and_follow_scale(seed, scale):
    joints = hands(1, seed)
    distances = losses.joint_line_distances(joints)
    torch.testing.assert_close(losses.joint_line_distances(moved(joints, seed)), distances, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(losses.joint_line_distances(scale * joints), scale * distances, rtol=1e-8, atol=1e-8)


def test_geometrical_loss_sums_3990_differences_and_averages_the_batch():
    target = hands(2)
    predicted = torch.stack([2 * target[0], target[1]])
    # doubling a hand doubles its distances: each difference is the distance itself
    by_hand = losses.joint_line_distances(target)[0].sum().item() / 2
    assert losses.geometrical_loss(predicted, target).item() == pytest.approx(by_hand, rel=1e-9)
    assert losses.geometrical_loss(target, predicted).item() == pytest.approx(by_hand, rel=1e-9)


def collinear_fingers(dtype):
    joints = torch.zeros(1, 21, 3, dtype=dtype)
    for finger in range(5):
        direction = torch.tensor([math.cos(finger), math.sin(finger), 0.3 * finger], dtype=dtype)
        joints[0, 1 + 4 * finger : 5 + 4 * finger] = direction * torch.arange(1, 5, dtype=dtype)[:, None]
    return joints


def degenerate_poses():
    line = torch.zeros(1, 21, 3)
    line[0, :, 0] = torch.arange(21.0)
    coincident = hands(1, dtype=torch.float32)
    coincident[0, 7] = coincident[0, 3]
    nearly = collinear_fingers(torch.float32) + 1e-7 * hands(1, 1, torch.float32)
    tiny = 1e-7 * hands(1, dtype=torch.float32)
    from_afar = 100 * hands(1)  # the area that the other joints span over the pair is not small, its base is
    from_afar[0, 7] = from_afar[0, 3] + torch.tensor([0.0, 1e-7, 0.0])
    return {
        "all joints at zero": torch.zeros(1, 21, 3),
        "all joints on one line": line,
        "straight fingers": collinear_fingers(torch.float32),
        "straight fingers, float64": collinear_fingers(torch.float64),
        "nearly straight fingers": nearly,
        "two joints in one place": coincident,
        "two joints nearly in one place, the others far away": from_afar,
        "collapsed to rounding": tiny,
    }


@pytest.mark.parametrize("loss", [losses.geometrical_loss, losses.kcs_loss])
@pytest.mark.parametrize("name", degenerate_poses())
@pytest.mark.parametrize("same", [False, True])
def test_degenerate_poses_give_finite_values_and_gradients(loss, name, same):
    predicted = degenerate_poses()[name].requires_grad_()
    target = predicted.detach().clone() if same else hands(1, 5, predicted.dtype)
    value = loss(predicted, target)
    with torch.autograd.set_detect_anomaly(True):  # an error where any step on the way back gives NaN
        value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(predicted.grad).all()
    if same:
        assert value == 0


def test_lengths_below_a_thousandth_of_a_thousandth_are_zero():
    vectors = torch.tensor([[3.0, 0.0, 4.0], [0.0, 1.2e-6, 0.0], [0.9e-6, 0.0, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(losses._length(vectors), torch.tensor([5.0, 1.2e-6, 0.0, 0.0], dtype=torch.float64))
    assert (losses._length(vectors)[2:] == 0).all()


def test_a_straight_finger_has_distance_zero_to_its_own_line():
    distances = losses.joint_line_distances(collinear_fingers(torch.float64))[0]
    lines = list(itertools.combinations([joint for joint in range(21) if joint != 2], 2))
    assert abs(distances[2, lines.index((1, 3))]) < 1e-6
    assert distances[2, lines.index((1, 9))] > 0.1


def test_geometrical_loss_still_pulls_the_other_joints_when_two_coincide():
    predicted = degenerate_poses()["two joints in one place"].requires_grad_()
    losses.geometrical_loss(predicted, hands(1, 5, torch.float32)).backward()
    assert (predicted.grad.norm(dim=-1) > 0).all()


def test_gradient_of_the_geometrical_loss_is_that_of_finite_differences():
    predicted, target = hands(1, 2).requires_grad_(), hands(1, 3)
    losses.geometrical_loss(predicted, target).backward()
    step = torch.zeros_like(target)
    step[0, 5, 1] = 1e-6
    with torch.no_grad():
        slope = (losses.geometrical_loss(predicted + step, target) - losses.geometrical_loss(predicted - step, target)) / 2e-6
    assert predicted.grad[0, 5, 1].item() == pytest.approx(slope.item(), rel=1e-4)


@pytest.mark.parametrize("shape", [(21, 3), (2, 20, 3), (2, 3, 21), (2, 63), (1, 2, 21, 3)])
@pytest.mark.parametrize("function", [losses.kinematic_chain_space, losses.joint_line_distances])
def test_other_shapes_are_refused(function, shape):
    with pytest.raises(ValueError, match=r"\(B, 21, 3\)"):
        function(torch.zeros(shape))


def test_a_line_through_one_place_has_no_distance_and_short_ones_have():
    joints = hands(1)
    joints[0, 2] = joints[0, 1]
    assert losses.joint_line_distances(joints)[0, 0, 0] == 0  # joint 0, line 1-2
    joints[0, 2, 0] += 1e-5  # ten times what counts as one place
    assert losses.joint_line_distances(joints)[0, 0, 0] > 0
    joints[0, 2, 0] = joints[0, 1, 0] + 1e-7
    assert losses.joint_line_distances(joints)[0, 0, 0] == 0


def test_arrays_near_to_a_pose_are_refused_by_name():
    for shape in ((21, 21, 3, 1), (21, 3), (1, 21, 4), (1, 22, 3)):
        for function in (losses.kinematic_chain_space, losses.joint_line_distances):
            with pytest.raises(ValueError, match=r"^joints must have shape \(B, 21, 3\), got"):
                function(torch.zeros(shape))


def test_losses_of_several_hands_are_means_of_the_losses_of_each():
    predicted, target = hands(3, 1), hands(3, 2)
    for loss in (losses.kcs_loss, losses.geometrical_loss, losses.mean_squared_error):
        each = [loss(predicted[[one]], target[[one]]).item() for one in range(3)]
        assert loss(predicted, target).item() == pytest.approx(np.mean(each), rel=1e-9)
        assert loss(predicted, target).item() == pytest.approx(loss(target, predicted).item(), rel=1e-9)


@pytest.mark.parametrize("loss", [losses.kcs_loss, losses.geometrical_loss])
def test_losses_refuse_another_number_of_hands(loss):
    for counts in ((1, 3), (3, 1), (2, 3)):
        with pytest.raises(ValueError, match="differ in shape"):
            loss(*map(hands, counts))


@pytest.mark.parametrize("shape", [(21, 3), (2, 20, 3)])
def test_the_geometrical_loss_refuses_what_is_no_pose(shape):
    with pytest.raises(ValueError, match=r"^predicted must have shape \(B, 21, 3\), got"):
        losses.geometrical_loss(torch.zeros(shape), torch.zeros(shape))


def test_gradients_of_all_joint_line_distances_are_those_of_finite_differences():
    assert torch.autograd.gradcheck(losses.joint_line_distances, hands(1, 4).requires_grad_())


def test_a_place_and_an_area_of_nothing_have_gradient_zero():
    joints = hands(1)
    joints[0, 2] = joints[0, 1]
    joints.requires_grad_()
    losses.joint_line_distances(joints)[0, 0, 0].backward()  # joint 0, line 1-2
    assert (joints.grad == 0).all()
    line = torch.zeros(1, 21, 3, dtype=torch.float64)
    line[0, :, 0] = torch.arange(21)
    line.requires_grad_()
    losses.joint_line_distances(line).sum().backward()
    assert (line.grad == 0).all()


@given(SEEDS)
@settings(deadline=None, max_examples=10)
def test_float32_agrees_with_float64(seed):
    predicted, target = hands(4, seed), hands(4, seed + 1)
    whole = losses.geometrical_loss(predicted, target).item()
    assert losses.geometrical_loss(predicted.float(), target.float()).item() == pytest.approx(whole, rel=1e-4)


def test_joint_line_distances_of_no_hand_and_under_autocast():
    assert losses.joint_line_distances(hands(0)).shape == (0, 21, 190)
    joints = hands(2, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        distances = losses.joint_line_distances(joints)
    assert distances.dtype == torch.float32
    assert torch.equal(distances, losses.joint_line_distances(joints))


def test_training_follows_on_prediction():
    losses._on.cache_clear()
    joints = hands(1)
    with torch.inference_mode():
        losses.geometrical_loss(joints, joints)
    predicted = hands(1, 1).requires_grad_()
    losses.geometrical_loss(predicted, joints).backward()
    assert torch.isfinite(predicted.grad).all()


def test_a_line_through_two_joints_that_all_but_coincide_is_undefined():
    joints = 100 * torch.randn(1, 21, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    joints[:, 1] = joints[:, 0] + 5e-7  # the triangle with a third joint still has an area
    distances = losses.joint_line_distances(joints)[0]
    lines = [list(itertools.combinations([joint for joint in range(21) if joint != i], 2)) for i in range(21)]
    for i in range(2, 21):
        assert distances[i, lines[i].index((0, 1))] == 0
        assert (distances[i] > 0).sum() == 189


def test_a_length_that_is_just_the_limit_counts_as_none():
    lengths = torch.tensor([[1e-6], [1.01e-6]], dtype=torch.float64)
    assert (lengths[0] * lengths[0]).item() == losses._COINCIDENT
    assert losses._length(lengths).tolist() == [0.0, pytest.approx(1.01e-6)]


def test_nan_stays_nan():
    target = hands(2)
    for joints in (slice(None), slice(3, 4)):
        pose = target.clone()
        pose[:, joints] = math.nan
        distances = losses.joint_line_distances(pose)
        assert distances[:, joints].isnan().all()
        assert all(loss(pose, target).isnan() for loss in (losses.geometrical_loss, losses.kcs_loss, losses.mean_squared_error))
