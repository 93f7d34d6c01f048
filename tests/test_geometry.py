import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handpose import geometry

SEEDS = st.integers(0, 2**32 - 1)
PIXELS = st.floats(-200, 500)
RHD_K = np.array([[280.0, 0, 160], [0, 280, 160], [0, 0, 1]])
STB_K = np.array([[607.9, 0, 314.8], [0, 590.0, 236.4], [0, 0, 1]])


def hand(seed=0):
    """A random hand half a metre in front of the camera, mm."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(21, 3)) * 40 + [rng.uniform(-150, 150), rng.uniform(-150, 150), 600]


def test_projection_by_hand():
    K = np.array([[100.0, 0, 50], [0, 200, 60], [0, 0, 1]])
    np.testing.assert_allclose(geometry.project([[1.0, 2.0, 4.0], [0, 0, 9]], K), [[75, 160], [50, 60]])


@pytest.mark.parametrize("kind", [np.float32, np.float16, np.int64])
def test_projection_is_in_double_precision_whatever_it_is_given(kind):
    points, K = np.array([[1, 2, 3], [5, 7, 11]]), np.array([[100, 0, 50], [0, 200, 60], [0, 0, 1]])
    expected = geometry.project(points.astype(float), K.astype(float))
    for pair in ((points.astype(kind), K.astype(kind)), (points.tolist(), K.tolist())):
        found = geometry.project(*pair)
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, expected, rtol=1e-15)


def test_projection_takes_a_camera_per_hand():
    points = np.stack([hand(0), hand(1)])
    uv = geometry.project(points, np.stack([RHD_K, STB_K]))
    np.testing.assert_allclose(uv[0], geometry.project(points[0], RHD_K))
    np.testing.assert_allclose(uv[1], geometry.project(points[1], STB_K))


def test_palm_centre_and_scale_by_hand():
    pose = np.zeros((21, 3))
    pose[0], pose[9], pose[10] = [0, 10, 0], [4, 20, 0], [4, 23, 4]
    np.testing.assert_allclose(geometry.palm_centre(pose), [2, 15, 0])
    assert geometry.hand_scale(pose) == pytest.approx(5.0)


def test_crop_box_by_hand():
    uv = np.full((21, 2), [100.0, 50.0])
    uv[3], uv[4] = [90, 40], [130, 60]
    centre, side = geometry.crop_box(uv, margin=1.5)
    np.testing.assert_allclose(centre, [110, 50])
    assert side == pytest.approx(1.5 * 40)
    uv[5, 1] = 100  # now taller than wide
    centre, side = geometry.crop_box(uv, margin=1.5)
    np.testing.assert_allclose(centre, [110, 70])
    assert side == pytest.approx(1.5 * 60)


@given(PIXELS, PIXELS, st.sampled_from(["rhd", "stb"]))
@settings(deadline=None, max_examples=50)
def test_view_rotation_turns_the_ray_onto_the_optical_axis(u, v, camera):
    K = RHD_K if camera == "rhd" else STB_K
    R = geometry.view_rotation([u, v], K)
    ray = np.linalg.inv(K) @ [u, v, 1]
    np.testing.assert_allclose(R @ ray, [0, 0, np.linalg.norm(ray)], atol=1e-9)
    np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(R) == pytest.approx(1.0)


@given(PIXELS, PIXELS)
@settings(deadline=None, max_examples=50)
def test_view_rotation_is_the_formula_of_the_references(u, v):
    # one focal length and one principal point for both axes, as they have it for RHD; the roll about z counts
    f, u0 = 280.0, 160.0
    a = np.arctan((u - u0) / f)
    Ry = np.array([[np.cos(-a), 0, np.sin(-a)], [0, 1, 0], [-np.sin(-a), 0, np.cos(-a)]])
    p = Ry @ [u - u0, v - u0, f]
    b = np.arctan(p[1] / p[2])
    Rx = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    np.testing.assert_allclose(geometry.view_rotation([u, v], RHD_K), Rx @ Ry, atol=1e-12)


def test_a_crop_about_the_principal_point_needs_no_rotation():
    np.testing.assert_allclose(geometry.view_rotation([314.8, 236.4], STB_K), np.eye(3), atol=1e-15)


def test_view_rotation_of_many_is_that_of_each():
    centres, K = np.array([[10.0, 20], [300, 150]]), np.stack([RHD_K, STB_K])
    for index, R in enumerate(geometry.view_rotation(centres, K)):
        np.testing.assert_allclose(R, geometry.view_rotation(centres[index], K[index]))


def test_normalising_at_the_principal_point_centres_and_scales():
    xyz = hand()
    pose, R = geometry.normalise_pose(xyz, [160, 160], RHD_K, "right")
    expected = (xyz - (xyz[0] + xyz[9]) / 2) / np.linalg.norm(xyz[10] - xyz[9])
    np.testing.assert_allclose(pose, expected, atol=1e-12)
    np.testing.assert_allclose(R, np.eye(3), atol=1e-12)


def test_normalising_corrects_the_view():
    xyz = hand()
    root = (xyz[0] + xyz[9]) / 2
    centre = geometry.project(root[None], RHD_K)[0]
    xyz[4] = root * 1.2  # a joint behind the root on the ray of the crop's centre
    pose, _ = geometry.normalise_pose(xyz, centre, RHD_K, "right", scale=1.0)
    np.testing.assert_allclose(pose[4], [0, 0, 0.2 * np.linalg.norm(root)], atol=1e-9)


def test_normalising_keeps_to_the_root_and_scale_given():
    xyz = hand()
    pose, _ = geometry.normalise_pose(xyz, [160, 160], RHD_K, "right", root=xyz[0], scale=10.0)
    np.testing.assert_allclose(pose, (xyz - xyz[0]) / 10, atol=1e-12)


def test_a_left_hand_becomes_the_mirrored_right_hand():
    xyz, centre = hand(), [200.0, 90.0]
    right, R = geometry.normalise_pose(xyz, centre, RHD_K, "right")
    left, R_left = geometry.normalise_pose(xyz, centre, RHD_K, "left")
    np.testing.assert_allclose(left, right * [-1, 1, 1])
    np.testing.assert_array_equal(R, R_left)


def test_a_mirrored_scene_gives_the_same_pose():
    # what "as right hands" is for: the left hand of a mirrored picture is the right hand of the picture
    xyz, centre = hand(), np.array([200.0, 90.0])
    right, _ = geometry.normalise_pose(xyz, centre, RHD_K, "right")
    mirrored, _ = geometry.normalise_pose(xyz * [-1, 1, 1], [320 - centre[0], centre[1]], RHD_K, "left")
    np.testing.assert_allclose(mirrored, right, atol=1e-12)


@given(SEEDS, st.lists(st.booleans(), min_size=1, max_size=4), PIXELS, PIXELS)
@settings(deadline=None, max_examples=40)
def test_restoring_undoes_normalising(seed, left, u, v):
    hands = np.stack([hand(seed + index) for index in range(len(left))])
    prepared = [geometry.normalise_pose(xyz, [u, v], STB_K, "left" if side else "right") for xyz, side in zip(hands, left)]
    pose, R = (np.stack(part) for part in zip(*prepared))
    restored = geometry.restore_pose(pose, R, left, geometry.palm_centre(hands), geometry.hand_scale(hands))
    np.testing.assert_allclose(restored, hands, atol=1e-8)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan")])
def test_a_scale_that_is_not_positive_is_refused(scale):
    with pytest.raises(ValueError, match="scale must be positive"):
        geometry.normalise_pose(hand(), [160, 160], RHD_K, "right", scale=scale)


def test_a_hand_collapsed_to_a_point_is_refused():
    with pytest.raises(ValueError, match="scale must be positive"):
        geometry.normalise_pose(np.full((21, 3), 500.0), [160, 160], RHD_K, "right")


@pytest.mark.parametrize("hand_name", ["Left", "both", ""])
def test_another_hand_is_refused(hand_name):
    with pytest.raises(ValueError, match='hand must be "left" or "right"'):
        geometry.normalise_pose(hand(), [160, 160], RHD_K, hand_name)


def test_the_crop_is_the_longest_side_of_the_box_with_its_margin():
    uv = np.stack([np.linspace([10, 20], [40, 80], 21), np.linspace([0, 0], [100, 30], 21)])
    centre, side = geometry.crop_box(uv)
    np.testing.assert_allclose(centre, [[25, 50], [50, 15]])
    np.testing.assert_allclose(side, [1.3 * 60, 1.3 * 100])


def test_plain_lists_do_as_well():
    xyz = hand()
    np.testing.assert_allclose(geometry.project(xyz.tolist(), STB_K.tolist()), geometry.project(xyz, STB_K))
    R = geometry.view_rotation([[10, 20]], STB_K.astype(int).tolist())
    np.testing.assert_allclose(R, geometry.view_rotation(np.array([[10.0, 20]]), STB_K.astype(int)))
    root, scale = geometry.palm_centre(xyz[None]), geometry.hand_scale(xyz[None])
    pose, R = geometry.normalise_pose(xyz, [10, 20], STB_K, "left")
    restored = geometry.restore_pose(pose[None].tolist(), R[None], [True], root.tolist(), scale.tolist())
    np.testing.assert_allclose(restored, xyz[None], atol=1e-8)


def test_whole_numbers_are_divided_as_real_ones():
    assert geometry.project(np.array([[1, 2, 4]]), np.array([[100, 0, 50], [0, 200, 60], [0, 0, 1]])).dtype == np.float64
    assert geometry.project(np.ones((1, 3), np.float32), np.eye(3, dtype=np.float32)).dtype == np.float64
    assert geometry.view_rotation(np.float32([1, 2]), RHD_K.astype(np.float32)).dtype == np.float64
