"""Preferences between two clips: what is kept, what is refused, what a crash may tear."""

from __future__ import annotations

import pytest

from robo_reward.data.preferences import Clip, Preference, append_preference, read_preferences

SAID = Preference(Clip("session-00000", 0, 40), Clip("session-00003", 12, 52), "second")


def test_what_was_said_comes_back_in_order_also_after_a_torn_line(tmp_path):
    path = tmp_path / "preferences.jsonl"
    assert read_preferences(path) == []
    append_preference(path, SAID)
    with path.open("a") as file:
        file.write('{"first": {"epi')  # a crash
    assert read_preferences(path) == [SAID]
    other = Preference(SAID.second, SAID.first, "equal")
    append_preference(path, other)
    assert read_preferences(path) == [SAID, other]


def test_a_line_that_is_no_preference_is_named(tmp_path):
    path = tmp_path / "preferences.jsonl"
    path.write_text('{"choice": "first"}\n')
    with pytest.raises(ValueError, match="preferences.jsonl, line 1 is no preference"):
        read_preferences(path)


@pytest.mark.parametrize(
    ("clip", "choice", "words"),
    [(SAID.first, "left", "'left': choose first, second"), (Clip("a", 4, 4), "first", "clip 4 to 4 of a")],
)
def test_what_makes_no_sense_is_refused(clip, choice, words):
    with pytest.raises(ValueError, match=words):
        Preference(clip, SAID.second, choice)
