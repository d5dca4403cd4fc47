"""The clicks of the review page against a reward model: which of two clips came on further."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from robo_reward.config import load_config
from robo_reward.data.preferences import Clip, Preference, append_preference
from robo_reward.data.store import TransitionStore
from robo_reward.runtime import preferred
from robo_reward.runtime.preferred import preference_agreement
from robo_reward.testing.episodes import make_episode
from robo_reward.types import PhiTrack

LENGTH = 8


class Quadratic:
    """Potential: the square of the share of steps, turned round in episodes whose name begins with `back`."""

    def annotate(self, episodes):
        up = np.linspace(0, 1, LENGTH + 1, dtype=np.float32) ** 2
        return [PhiTrack("q", up[::-1] if e.episode_id.startswith("back") else up, up) for e in episodes]


def episode(name, oracle=True):
    return make_episode(
        LENGTH, name, success=False, instruction="push",
        oracle=np.linspace(0, 1, LENGTH + 1).astype(np.float32) if oracle else None,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(preferred, "load_scorer", lambda folder: Quadratic())
    with TransitionStore(tmp_path / "store", writable=True) as store:
        sequence = store.append_episode("online", 0, episode("on"))
        store.append_episode("online", sequence, episode("back"))
    return tmp_path


def click(folder, choice, first=("on", 4, 8), second=("on", 0, 4)):
    append_preference(folder / "p.jsonl", Preference(Clip(*first), Clip(*second), choice))


def test_the_model_agrees_where_it_rises_more_over_the_chosen_clip(folder):
    click(folder, "first")  # 0.75 against 0.25
    click(folder, "second", ("back", 0, 4), ("on", 0, 4))  # falls against rises
    click(folder, "second")  # a person who prefers the slower one
    click(folder, "equal")
    click(folder, "unclear")
    found = preference_agreement(folder, "model", folder / "p.jsonl")
    assert found["preference_pairs"] == 3 and found["preference_agreement"] == pytest.approx(2 / 3)
    assert found["preference_agreement_low"] < 2 / 3 < found["preference_agreement_high"]
    assert found["preference_oracle_agreement"] == 0  # it rises by the same everywhere: a draw agrees with nobody


@pytest.mark.parametrize("first, words", [
    (("gone", 0, 4), "names episode gone, which is not in"),
    (("on", 5, 9), "on ends at 8, its clip at 9"),
])  # fmt: skip
def test_a_clip_that_is_not_there_is_named(folder, first, words):
    click(folder, "first", first)
    with pytest.raises(ValueError, match=words):
        preference_agreement(folder, "model", folder / "p.jsonl")


def test_no_file_and_no_choice_are_told(folder):
    with pytest.raises(FileNotFoundError, match="review page writes preferences.jsonl"):
        preference_agreement(folder, "model", folder / "p.jsonl")
    click(folder, "equal")
    with pytest.raises(ValueError, match="nobody chose one of two clips"):
        preference_agreement(folder, "model", folder / "p.jsonl")


def test_preferences_without_a_store_are_refused():
    with pytest.raises(ValueError, match="add store=FOLDER"):
        load_config(["preferences=p.jsonl"])
