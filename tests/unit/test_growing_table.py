"""Tables that grow: lines are added, never changed, and never under columns that are not theirs."""

from __future__ import annotations

import pytest

from robo_reward.evaluation.growing_table import append_lines, means_by, read_lines


def test_lines_are_added_and_the_head_is_written_once(tmp_path):
    path = tmp_path / "new" / "table.csv"
    assert read_lines(path) == []
    append_lines(path, ("a", "b"), [{"a": 1, "b": "x,y"}])
    append_lines(path, ("a", "b"), [{"a": 2}])
    assert read_lines(path) == [{"a": "1", "b": "x,y"}, {"a": "2", "b": ""}]


def test_another_tables_lines_are_refused_and_nothing_is_written(tmp_path):
    path = tmp_path / "table.csv"
    append_lines(path, ("a",), [{"a": 1}])
    before = path.read_bytes()
    with pytest.raises(ValueError, match="other columns than a, b: move it away"):
        append_lines(path, ("a", "b"), [{"a": 1, "b": 2}])
    assert path.read_bytes() == before


def test_means_are_of_a_group_and_of_figures_that_each_of_its_lines_has():
    lines = [{"arm": "a", "x": "0.5", "y": "15"}, {"arm": "a", "x": "1.0", "y": ""}, {"arm": "b", "x": "2", "y": "1"}]
    table = means_by(lines, "arm", ("x", "y"))
    assert table["a"] == {"seeds": 2, "x": [0.75, 0.5, 1.0], "y": None}
    assert table["b"] == {"seeds": 1, "x": [2.0, 2.0, 2.0], "y": [1.0, 1.0, 1.0]}
