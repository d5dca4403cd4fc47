"""The record of fault rows: what is written where, and that a bad outcome fails the test that reports it."""

from __future__ import annotations

import json

import pytest

from robo_reward.testing.faults import RECORD, TIER, fault_count, record_fault


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    for name in (TIER, RECORD):
        monkeypatch.delenv(name, raising=False)


def test_rows_are_appended_where_the_environment_says(tmp_path, monkeypatch):
    record_fault("S0", "nowhere", injected=1, broken=[])
    monkeypatch.setenv(RECORD, str(tmp_path / "faults.jsonl"))
    monkeypatch.setenv(TIER, "nightly")
    record_fault("S1", "kills", injected=5, broken=[], control_failed=2)
    with pytest.raises(AssertionError, match="2 of 9 cases broke, such as case 3; case 4"):
        record_fault("S2", "tears", injected=9, broken=["case 3", "case 4"])
    rows = [json.loads(line) for line in (tmp_path / "faults.jsonl").read_text().splitlines()]
    assert rows == [
        {"row": "S1", "what": "kills", "injected": 5, "held": 5, "control_failed": 2, "tier": "nightly"},
        {"row": "S2", "what": "tears", "injected": 9, "held": 7, "control_failed": None, "tier": "nightly"},
    ]


@pytest.mark.parametrize(
    ("changes", "reason"), [({"injected": 0}, "no fault was injected"), ({"control_failed": 0}, "the control held too")]
)
def test_a_test_that_shows_nothing_fails(changes, reason):
    with pytest.raises(AssertionError, match=reason):
        record_fault("S1", "kills", **({"injected": 5, "broken": [], "control_failed": 2} | changes))


def test_the_tier_chooses_the_number_of_faults(monkeypatch):
    assert fault_count(pull_request=3, nightly=100) == 3
    monkeypatch.setenv(TIER, "nightly")
    assert fault_count(pull_request=3, nightly=100) == 100
    monkeypatch.setenv(TIER, "weekly")
    with pytest.raises(ValueError, match="weekly: choose pull_request or nightly"):
        fault_count(pull_request=3, nightly=100)


def test_the_table_adds_up_the_tests_of_a_row_and_says_where_there_was_no_control(script):
    study = script("study_faults")
    line = {"row": "S1", "what": "kills", "injected": 5, "held": 5, "control_failed": 2, "tier": "nightly"}
    rows = study.gather([line, line | {"what": "cuts", "held": 4}, line | {"row": "A1", "control_failed": None}])
    assert [text.split() for text in study.table(rows).splitlines()] == [
        ["row", "injected", "held", "control", "failed", "what"], ["A1", "5", "5", "none", "kills"],
        ["S1", "10", "9", "4", "kills"], ["cuts"],
    ]  # fmt: skip


def test_a_row_keeps_the_sitting_that_it_is_from_and_one_that_did_not_hold_is_not_hidden(script):
    study = script("study_faults")

    def row(injected, held):
        return {"injected": injected, "held": held}

    known = {"rows": {"S1": row(400, 400), "N1": row(50, 50)}, "git_revision": "old"}
    found = {"S1": row(20, 20), "N1": row(5, 4)}
    result = study.updated(known, found, {"git_revision": "new"}, passed=False)
    assert result["rows"] == {
        "S1": {**row(400, 400), "git_revision": "old"}, "N1": {**row(5, 4), "git_revision": "new"}
    }  # fmt: skip
    assert result["git_revision"] == "old"
    assert study.updated({}, found, {"git_revision": "new"}, passed=True)["git_revision"] == "new"
