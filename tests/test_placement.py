"""The place of a hand whose root is not known."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from handpose.geometry import palm_centre, project
from handpose.pictures import DrawnFrames
from handpose.placement import estimate_root


def box_of(uv):
    return np.concatenate([uv.min(-2), uv.max(-2)], -1)


def test_with_the_true_pose_it_is_the_true_root():
    frames = [DrawnFrames(64)[index] for index in range(8)]
    xyz, K = (np.stack([getattr(frame, name) for frame in frames]).astype(float) for name in ("xyz", "K"))
    root = palm_centre(xyz)
    found = estimate_root(xyz - root[:, None], box_of(project(xyz, K)), K)
    np.testing.assert_allclose(found, root, atol=0.01)
    one = estimate_root(xyz[0] - root[0], box_of(project(xyz[0], K[0])), K[0])
    np.testing.assert_allclose(one, found[0], rtol=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.floats(20, 120), st.floats(1.5, 40), st.floats(-1, 1), st.floats(-1, 1), st.floats(50, 5000))
def test_any_hand_in_front_of_any_camera_is_found(seed, size, distance, x, y, focal):
    rng = np.random.default_rng(seed)
    pose = rng.normal(size=(21, 3))
    pose *= size / np.linalg.norm(pose, axis=-1).max()
    pose -= palm_centre(pose)
    depth = size * distance + 10 - pose[:, 2].min()
    root = np.array([x * depth, y * depth, depth])
    K = np.array([[focal, 0, 300.0], [0, 0.8 * focal, 200], [0, 0, 1]])
    found = estimate_root(pose, box_of(project(pose + root, K)), K)
    np.testing.assert_allclose(found, root, rtol=1e-3, atol=1e-2)


def test_errors_go_into_the_depth_in_proportion():
    """Far away: twice the focal length, or a hand twice as large, is twice as far; a box twice as wide half as far."""
    rng = np.random.default_rng(0)
    pose = rng.normal(scale=30, size=(21, 3))
    pose -= palm_centre(pose)
    K = np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])
    box = box_of(project(pose + [0, 0, 20_000], K))
    depth = estimate_root(pose, box, K)[2]
    longer = K * [[2, 1, 1], [1, 2, 1], [1, 1, 1]]
    middle, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2
    assert abs(estimate_root(pose, box, longer)[2] / depth - 2) < 0.02
    assert abs(estimate_root(2 * pose, box, K)[2] / depth - 2) < 0.02
    assert abs(estimate_root(pose, np.concatenate([middle - 2 * half, middle + 2 * half]), K)[2] / depth - 0.5) < 0.02
