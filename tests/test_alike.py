"""Results of older code: stale, unless the code since was found to train alike."""

import pytest

from handpose import alike, runs
from handpose.experiments import CONTROLS, PEERS, ROWS, find_row, stage_owner
from handpose.records import read_json, write_check
from handpose.results import RECORDED, Result
from tests.alike import terms_apart

CHANGE = {"then": "a" * 40, "now": "b" * 40, "digests": {"ours": ["old", "new"], "Moon": ["old moon", "new moon"]}, "platform": "Linux",
          "trainings": [{"name": "A: disentangle", "steps": 3, "loss": 1e-6, "gradient": 1e-3, "later": 1e-3, "told": 0.0}]}  # fmt: skip


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Writes what the check found: the changes given."""
    monkeypatch.setattr(alike, "KEPT", tmp_path / "alike.json")

    def write(*changes):
        write_check(alike.KEPT, {"changes": list(changes)})
        alike._kept.cache_clear()

    return write


def test_code_that_was_not_examined_trains_something_else(kept):
    assert alike.trains_alike("old", "old") and not alike.trains_alike("old", "new")
    kept(CHANGE)
    assert alike.trains_alike("old", "new") and alike.trains_alike("old moon", "new moon", "Moon")
    assert not alike.trains_alike("new", "old") and not alike.trains_alike("old", "newer") and not alike.trains_alike("older", "new")
    assert not alike.trains_alike("old", "new", "Gu") and alike.trains_alike("old", "new", "D3")


def test_changes_follow_each_other(kept):
    kept(CHANGE, CHANGE | {"digests": {"ours": ["new", "newer"]}})
    assert alike.trains_alike("old", "newer") and alike.trains_alike("new", "newer") and alike.trains_alike("old", "new")
    assert alike.trains_alike("old", "old") and alike.trains_alike("new", "new") and not alike.trains_alike("newer", "old")


@pytest.mark.parametrize("apart", [{"loss": 2e-4}, {"gradient": 3e-2}, {"loss": float("nan")}, {"later": 0.1}, {"later": float("inf")}, {"told": 1.0}])
def test_trainings_that_differ_do_not_pass(kept, apart):
    kept(CHANGE | {"trainings": [*CHANGE["trainings"], CHANGE["trainings"][0] | apart]})
    assert not alike.trains_alike("old", "new")
    kept(CHANGE | {"trainings": []})
    assert not alike.trains_alike("old", "new")


def test_a_check_that_was_edited_is_refused(kept):
    kept(CHANGE)
    alike.KEPT.write_text(alike.KEPT.read_text().replace("0.001", "0.0001"))
    with pytest.raises(ValueError, match="changed after it was measured"):
        alike.trains_alike("old", "new")


def test_every_training_was_examined_and_what_is_recorded_counts():
    wanted = {f"{stage_owner(stage, row)}: {stage}" for row in (*ROWS, *CONTROLS, *PEERS) for stage in find_row(row).stages}
    cards = [read_json(path) for path in RECORDED.glob("*/*/run.json")]
    older = [card for card in cards if card["training_code"] != runs.training_code(card["row"] if card["row"] in PEERS else None)]
    needed = {f"{stage_owner(stage, card['of_row'])}: {stage}" for card in older for stage in card["stages"]} & wanted
    examined = set()
    for change in alike.found()["changes"]:
        names = {one["name"] for one in change["trainings"]}
        owners = {"ours" if owner not in PEERS else owner for owner in (name.partition(":")[0] for name in names)}
        assert names and names <= wanted and owners == change["digests"].keys()
        assert {name for name in wanted if name.partition(":")[0] in owners} <= names  # all stages of a method that is said to be alike
        examined |= names
    assert len(needed) > 10 and needed <= examined
    assert not [card["row"] for card in older if alike.code_changed(card)]
    card = Result(RECORDED / "synthetic-desktop" / "D3-seed0").card
    assert alike.trains_alike(card["training_code"], runs.training_code())


def test_the_page_says_how_far_apart(kept):
    kept(CHANGE)
    kept(CHANGE | {"digests": {"Moon": ["old moon", "new moon"]}})
    assert "1 trainings of Moon alone of up to 3 steps" in "\n".join(alike.lines(alike.found()))
    whole = {"preset": "desktop", "then": "one, float32", "now": "another, bf16", "commit": "c" * 40,
             "trainings": [{"row": "A", "seed": seed, "then": 30.0, "now": 30.0 + seed / 10} for seed in (0, 1)]}  # fmt: skip
    text = "\n".join(alike.lines(alike.found() | {"whole": whole}))
    assert "| A: disentangle | 3 | 1e-06 | 1e-03 | 1e-03 | yes |" in text and "`aaaaaaa` against commit `bbbbbbb`" in text
    assert "2 trainings of 1 rows" in text and "+0.05 mm on average" in text and "deviation of 0.07 mm" in text


def test_other_terms_are_as_far_apart_as_can_be():
    assert terms_apart({"mse": 3.0, "kl": 1.0}, {"mse": 3.0, "kl": 1.4}) == pytest.approx(0.1)
    assert terms_apart({"mse": 3.0}, {"mse": 3.0, "geo": 0.0}) == float("inf")
