import dataclasses

import pytest

from handpose.experiments import PRESETS, ROWS, Preset, find_preset, find_row, stage_owner, stage_settings


def test_defaults_of_preset_are_the_papers_settings():
    paper = PRESETS["paper"]
    assert (paper.beta, paper.alignment_weight, paper.kcs_weight, paper.geo_weight) == (1e-5, 1e-2, 1e-2, 1e-6)
    assert (paper.learning_rate, paper.batch, paper.size) == (1e-4, 64, 256)
    assert (paper.max_rotation, paper.flip_probability) == (45.0, 0.5)
    assert (paper.training, paper.evaluation, paper.decay) == (41258, 2728, False)


def test_stages_of_rows():
    assert ROWS["baseline"].stages == ("disentangle",)
    assert ROWS["D3"].stages == ("disentangle", "align", "refine")


def test_rows_that_agree_on_a_stage_share_it(monkeypatch):
    whole = ROWS["D3"]
    monkeypatch.setitem(ROWS, "D1", dataclasses.replace(whole, geo=False))
    assert stage_owner("align", "D1") == "D3"
    assert stage_owner("refine", "D1") == "D1"
    assert stage_settings("align", "D1", "quick", 0) == stage_settings("align", "D3", "quick", 0)
    assert stage_settings("refine", "D1", "quick", 0) != stage_settings("refine", "D3", "quick", 0)


def test_a_setting_of_another_stage_does_not_change_this_one():
    other = dataclasses.replace(PRESETS["quick"], refine_epochs=99)
    assert stage_settings("disentangle", "D3", other, 0) == stage_settings("disentangle", "D3", "quick", 0)
    assert stage_settings("refine", "D3", other, 0) != stage_settings("refine", "D3", "quick", 0)


def test_every_setting_that_trains_belongs_to_a_stage():
    """A field of Preset that no stage hashes could change a result without changing its identity."""
    hashed = set().union(*(stage_settings(stage, "D3", "quick", 0) for stage in ROWS["D3"].stages))
    of_the_data = {"training", "evaluation", "frame_size"}  # these are in the data's fingerprint
    assert {field.name for field in dataclasses.fields(Preset)} - of_the_data - {"cost"} <= hashed


@pytest.mark.parametrize("find, kind", [(find_preset, "preset"), (find_row, "row")])
def test_unknown_names_are_refused_with_the_right_ones(find, kind):
    with pytest.raises(ValueError, match=f"no {kind} 'D33'; choose from (smoke|baseline), "):
        find("D33")


def test_a_stage_that_the_row_lacks_is_refused():
    with pytest.raises(ValueError, match="no stage 'refine'; its stages: disentangle"):
        stage_settings("refine", "baseline", "quick", 0)
