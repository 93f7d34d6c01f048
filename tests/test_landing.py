"""The hand of the landing page: from the results that the page shows, typical, small."""

import json
import re

import numpy as np
import pytest

from handpose import landing
from handpose.results import RECORDED, Results
from handpose.skeleton import BONES

RESULTS = Results(RECORDED / "synthetic-desktop")
HAND = landing.typical_hand(RESULTS)


def page(folder, **parameters):
    given = {"preset": "desktop", "dataset": "synthetic", "output_dir": "runs", "recorded": "True", "seed": "0"} | parameters
    path = folder / "results.ipynb"
    path.write_text(json.dumps({"metadata": {"handpose": {"parameters": given}}}))
    return path


def test_the_results_are_those_of_the_page(tmp_path):
    results, seed = landing.results_of_page(page(tmp_path, seed="2"))
    assert results.folder == RESULTS.folder and seed == 2
    with pytest.raises(FileNotFoundError, match="holds no results"):
        landing.results_of_page(page(tmp_path, recorded="False", output_dir=str(tmp_path)))


def test_the_hand_is_the_most_typical_right_hand_among_the_crops_that_are_kept():
    errors = {row: RESULTS.errors(row, 0).mean(1) for row in landing.ROWS}
    kept = len(RESULTS.sample)
    place = next(index for index in range(kept) if np.allclose(RESULTS.target[index], HAND.poses["true pose"]))
    assert not RESULTS.left[place]
    away = [sum(abs(errors[row][index] - np.median(errors[row])) for row in errors) for index in range(kept)]
    assert away[place] == min(away[index] for index in range(kept) if not RESULTS.left[index])
    assert HAND.errors == {row: pytest.approx(errors[row][place]) for row in errors}
    np.testing.assert_array_equal(HAND.poses["D3"], RESULTS["D3", 0].predicted[place])
    height, width, _ = HAND.crop.shape
    assert height == width < len(RESULTS.sample[0])


def test_the_figure_draws_every_bone_of_every_pose():
    figure = landing.hand_figure(HAND)
    assert [trace.name.split(",")[0] for trace in figure.data] == ["true pose", "baseline", "whole method (D3)"]
    for trace, pose in zip(figure.data, HAND.poses.values()):
        drawn = np.array([trace.x, trace.y, trace.z], float).T.reshape(len(BONES), 3, 3)
        np.testing.assert_allclose(drawn[:, :2], pose[np.array(BONES)], atol=0.051)
        assert np.isnan(drawn[:, 2]).all()  # a bone is not joined to the next
        for axis, values in zip("xyz", pose.T):
            low, high = figure.layout.scene[f"{axis}axis"].range
            assert low <= values.min() and values.max() <= high
    reach = {round(np.diff(figure.layout.scene[f"{axis}axis"].range)[0], 0) for axis in "xyz"}
    assert len(reach) == 1  # a cube: nothing is stretched


def test_the_html_is_small_says_what_it_shows_and_loads_nothing():
    text = landing.hand_html(HAND)
    assert len(text) < 60_000
    assert "src=\"http" not in text and "cdn" not in text
    assert re.search(r'<img [^>]*alt="[^"]{20,}"', text)
    label = re.search(r'role="img" aria-label="([^"]+)"', text)[1]
    for row, error in HAND.errors.items():
        assert row in label and f"{error:.0f} mm" in label
