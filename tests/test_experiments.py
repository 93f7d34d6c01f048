import dataclasses
import json

import numpy as np
import pytest

from handpose.estimate import training_passes
from handpose.experiments import (
    CONTROLS,
    OWN_ROWS,
    PARTS,
    PRESETS,
    ROWS,
    TABLE_1,
    TABLE_2,
    Preset,
    Row,
    by_table,
    find_preset,
    find_row,
    row_name,
    row_stages,
    stage_owner,
    stage_settings,
)


def test_defaults_of_preset_are_the_papers_settings():
    paper = PRESETS["paper"]
    assert (paper.beta, paper.alignment_weight, paper.kcs_weight, paper.geo_weight) == (1e-5, 1e-2, 1e-2, 1e-6)
    assert (paper.learning_rate, paper.batch, paper.size) == (1e-4, 64, 256)
    assert (paper.max_rotation, paper.flip_probability) == (45.0, 0.5)
    assert (paper.training, paper.evaluation, paper.decay) == (41258, 2728, False)


def test_stages_of_rows():
    assert ROWS["baseline"].stages == ("disentangle",)
    assert ROWS["D3"].stages == ("disentangle", "align", "refine")
    assert row_stages("D3", "quick") == ("warmup", "disentangle", "align", "refine")
    assert row_stages("D3", "paper") == ROWS["D3"].stages


def test_rows_that_agree_on_a_stage_share_it():
    assert [stage_owner("disentangle", row) for row in ("C", "D3", "injection-pose", "A-longer")] == ["A", "B", "B", "A"]
    assert [stage_owner("align", row) for row in ("C", "D1", "D2", "D3", "D0-longer")] == ["C", "D0", "D0", "D0", "D0"]
    assert stage_settings("align", "D1", "quick", 0) == stage_settings("align", "D3", "quick", 0)
    assert stage_settings("refine", "D1", "quick", 0) != stage_settings("refine", "D3", "quick", 0)


def test_a_setting_counts_where_it_acts():
    """Rows without a discriminator are the same whatever its rate, and stay current when that changes."""
    for stage in ("disentangle", "further", "onward"):
        rows = {"disentangle": ("A", "B"), "further": ("A-longer", "B-longer"), "onward": ("baseline-longer", "injection+disentangle+longest")}
        with_it = [stage_settings(stage, row, "quick", 0).get("discriminator_rate") for row in rows[stage]]
        assert with_it == [None, find_preset("quick").discriminator_rate]


def test_the_rows_are_those_of_tables_1_and_2():
    assert TABLE_1 == ("baseline", "A", "B", "C", "D0", "D1", "D2", "D3")
    assert TABLE_2 == ("linear-concat", "linear-pose", "injection-concat", "injection-pose") and OWN_ROWS == ()
    assert [ROWS[row].paper for row in TABLE_1] == [15.71, 15.08, 14.77, 14.82, 14.36, 13.93, 13.99, 13.88]
    assert [ROWS[row].paper for row in TABLE_2] == [15.12, 15.13, 14.87, 14.77]
    assert not any(row.paper for row in CONTROLS.values())


def test_a_row_of_ones_own_is_no_row_of_the_papers_tables():
    own, names = Row(injection=True, kcs=True), list(ROWS)
    for place in (0, 5, 12):
        rows = {name: ROWS[name] for name in names[:place]} | {"mine": own} | {name: ROWS[name] for name in names[place:]}
        assert by_table(rows) == (TABLE_1, TABLE_2, ("mine",))


def test_twelve_rows_of_one_seed_cost_twelve_trainings():
    trainings = {(stage_owner(stage, row), stage) for row in ROWS for stage in row_stages(row, "quick")}
    assert len(trainings) == 12
    assert len({(stage, owner) for owner, stage in trainings if stage == "refine"}) == 3


def test_no_result_of_a_row_can_be_that_of_an_earlier_stage():
    for row in (*ROWS, *CONTROLS, "injection+align+kcs", "disentangle+longest", "concat+disentangle+align"):
        for stage in find_row(row).stages:
            assert find_row(stage_owner(stage, row)).stages[-1] == stage


@pytest.mark.parametrize("row", ["kcs+longest", "longer+geo", "align+kcs+longer", "longer+longest"])
def test_a_control_has_no_new_loss(row):
    with pytest.raises(ValueError, match="no new loss|not both"):
        find_row(row)


def test_every_row_ends_with_a_stage_of_its_own_but_the_one_the_paper_prints_twice():
    last = {row: stage_owner(find_row(row).stages[-1], row) for row in ROWS | CONTROLS}
    assert {row for row, owner in last.items() if row != owner} == {"injection-pose"}


def test_a_control_trains_as_long_as_what_it_is_held_against():
    assert ROWS["D1"].stages == CONTROLS["D0-longer"].stages
    assert CONTROLS["B-longer"].stages == ("disentangle", "further")
    assert CONTROLS["baseline-longer"].stages == ("disentangle", "further", "onward")
    for preset in PRESETS:
        epochs = {row: sum(training_passes(stage, preset)[1] for stage in find_row(row).stages) for row in ("D3", "D0", "D0-longer", *CONTROLS)}
        assert epochs["baseline-longer"] == epochs["D3"] == epochs["D0-longer"] and epochs["B-longer"] == epochs["D0"]


def test_settings_can_be_changed_in_the_presets_name():
    changed = find_preset("quick+beta=1e-4+refine_epochs=2+alternate=false+view=homography")
    assert (changed.beta, changed.refine_epochs, changed.alternate, changed.view) == (1e-4, 2, False, "homography")
    assert dataclasses.replace(changed, beta=1e-5, refine_epochs=1, alternate=True, view="crop") == PRESETS["quick"]


@pytest.mark.parametrize("text, message", [
    ("quik+beta=1", "no preset 'quik'"), ("quick+betta=1", "no setting 'betta'; choose from training"),
    ("quick+beta=small", "beta=small: a value like 1e-05 is wanted"), ("quick+batch=1.5", "a value like 64"),
    ("quick+alternate=maybe", "a value like True"), ("quick+beta", "a value like"),
])  # fmt: skip
def test_wrong_settings_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        find_preset(text)


@pytest.mark.parametrize("change, wanted", [
    ("batch=0", "2 or more"), ("batch=1", "2 or more"), ("batch=-5", "2 or more"), ("batch=1_0", "a value like 64"), ("size=0", "1 or more"),
    ("training=1", "2 or more"), ("evaluation=0", "1 or more"), ("frame_size=-1", "1 or more"), ("refine_epochs=-1", "0 or more"),
    ("learning_rate=nan", "0 or more"), ("learning_rate=inf", "0 or more"), ("beta=-1", "0 or more"), ("kcs_weight=-inf", "0 or more"),
    ("discriminator_rate=5", "0 to 1"),
    ("flip_probability=7", "0 to 1"), ("max_rotation=nan", "0 or more"), ("beta=1_0", "a value like"), ("view=foo", "one of crop, homography"),
    ("alignment_batches=both", "one of own, joint"), ("mapper_variance=0", "a number, 1e-08 or more"),
    ("mapper_input=foo", "one of sample, mean"), ("precision=foo", "one of auto, 32-true, bf16-mixed, 16-mixed"),
])  # fmt: skip
def test_settings_out_of_range_are_refused_in_one_line(change, wanted):
    with pytest.raises(ValueError) as error:
        find_preset(f"quick+{change}")
    assert str(error.value).startswith(f"{change}: ") and wanted in str(error.value) and "\n" not in str(error.value)


def test_a_row_whose_decoder_reads_all_has_something_to_leave_out():
    with pytest.raises(ValueError, match="concat goes with disentangle"):
        find_row("injection+concat")


def test_the_ends_of_the_ranges_are_taken():
    changed = find_preset("quick+batch=2+training=2+refine_epochs=0+beta=0+flip_probability=1+mapper_input=mean+precision=16-mixed")
    assert (changed.batch, changed.training, changed.refine_epochs, changed.beta, changed.flip_probability) == (2, 2, 0, 0, 1)
    for name, preset in PRESETS.items():  # what is not changed is within them
        values = {key: value for key, value in dataclasses.asdict(preset).items() if key != "cost"}
        assert find_preset("+".join([name, *(f"{key}={value}" for key, value in values.items())])) == preset


@pytest.mark.parametrize("seed", [np.int64(3), np.uint8(3), 3])
def test_a_seed_of_numpy_is_a_seed(seed):
    settings = stage_settings("disentangle", "D3", "quick", seed)
    assert json.dumps(settings) == json.dumps(stage_settings("disentangle", "D3", "quick", 3)) and type(settings["seed"]) is int


@pytest.mark.parametrize("seed", [-1, 1.0, np.float64(1), "1", True, None, 2**63])
def test_what_is_no_seed_is_refused(seed):
    with pytest.raises(ValueError, match="seed must be an integer, 0 or more"):
        stage_settings("disentangle", "D3", "quick", seed)


def test_a_setting_of_another_stage_does_not_change_this_one():
    other = dataclasses.replace(PRESETS["quick"], refine_epochs=99)
    assert stage_settings("disentangle", "D3", other, 0) == stage_settings("disentangle", "D3", "quick", 0)
    assert stage_settings("refine", "D3", other, 0) != stage_settings("refine", "D3", "quick", 0)


def test_every_setting_that_trains_belongs_to_a_stage():
    """A field of Preset that no stage hashes could change a result without changing its identity."""
    hashed = set().union(*(stage_settings(stage, "D3", "quick", 0) for stage in row_stages("D3", "quick")))
    of_the_data = {"training", "evaluation", "frame_size"}  # these are in the data's fingerprint
    assert {field.name for field in dataclasses.fields(Preset)} - of_the_data - {"cost"} <= hashed


@pytest.mark.parametrize("find, kind", [(find_preset, "preset"), (find_row, "row")])
def test_unknown_names_are_refused_with_the_right_ones(find, kind):
    with pytest.raises(ValueError, match=f"no {kind} 'D33'; choose from (smoke|baseline), "):
        find("D33")


def test_a_stage_that_the_row_lacks_is_refused():
    with pytest.raises(ValueError, match="no stage 'refine'; its stages: warmup, disentangle"):
        stage_settings("refine", "baseline", "quick", 0)


def test_a_row_without_a_name_is_its_parts():
    assert find_row("injection+kcs") == Row(injection=True, kcs=True) == find_row("kcs+injection")
    assert row_name(find_row("kcs+injection")) == "injection+kcs"
    assert find_row("align").stages == ("disentangle", "align") and find_row("kcs+geo").stages == ("disentangle", "refine")
    for wrong in ("injection+", "injection+injection", "A+kcs", "+"):
        with pytest.raises(ValueError, match="no row"):
            find_row(wrong)


def test_rows_with_a_name_keep_it():
    for name, row in (ROWS | CONTROLS).items():
        assert row_name(row) == ("B" if name == "injection-pose" else name)


def test_the_parts_are_all_that_a_row_is_made_of():
    assert PARTS == tuple(field.name for field in dataclasses.fields(Row) if field.type is bool)


def test_rows_without_a_name_share_stages_with_those_that_have_one_and_with_each_other():
    assert stage_owner("disentangle", "injection+kcs") == "A" and stage_owner("disentangle", "kcs+geo") == "baseline"
    assert stage_owner("align", "align+kcs") == stage_owner("align", "align+geo") == stage_owner("align", "align") == "align"
    assert stage_owner("refine", "align+kcs") == "align+kcs" and stage_owner("refine", "injection+disentangle+align+longer") == "D0-longer"
    assert stage_owner("refine", "align+longer") == "align+longer" and stage_owner("further", "disentangle+longer") == "disentangle+longer"
    for row in ("align+kcs", "kcs", "disentangle+concat+geo", "align+longer", "disentangle+longer"):
        for stage in find_row(row).stages:  # the owner trains the very same
            assert stage_settings(stage, stage_owner(stage, row), "quick", 0) == stage_settings(stage, row, "quick", 0)
