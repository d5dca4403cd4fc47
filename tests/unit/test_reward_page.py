"""Reward terms over an episode, worked out by hand, and the page that shows them."""

from __future__ import annotations

import re

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from robo_reward.evaluation.reward_page import terms_of, write_reward_page
from robo_reward.runtime.clips import extremes
from robo_reward.testing.episodes import make_episode
from robo_reward.types import Episode, Progress

PHI = np.array([0.2, 0.5, 0.9], np.float32)


def episode(terminated: bool = True) -> Episode:
    return make_episode(
        2, success=terminated, instruction="push", reward=np.array([0, 1], np.float32),
        oracle=np.array([0, 0.5, 1], np.float32),
    )  # fmt: skip


def test_each_term_at_each_step():
    terms = {name: values for name, (_, values) in terms_of(episode(), PHI, gamma=0.9).items()}
    assert terms["sparse"].tolist() == [0, 1]
    assert terms["shaping"] == pytest.approx([0.9 * 0.5 - 0.2, -0.5]), "nothing follows a terminal state"
    assert terms["naive difference"] == pytest.approx([0.3, 0.4])
    assert terms["absolute"] == pytest.approx([0.5, 0.9])
    timed_out = terms_of(episode(terminated=False), PHI, gamma=0.9)
    assert timed_out["shaping"][1][1] == pytest.approx(0.9 * 0.9 - 0.5), "a time-out is no end"


def test_the_page_is_one_file_that_asks_for_nothing(tmp_path):
    film = tmp_path / "film.mp4"
    film.write_bytes(b"a film")
    progress = [Progress(float(p), False, 0.9, 0.3, 0.4, 0.5) for p in PHI]
    pages = [
        write_reward_page(
            tmp_path / f"{len(some)}.html", episode(), PHI, film, gamma=0.9, fps=20, progress=some, title="a <b>"
        ).read_text()
        for some in (progress, [])
    ]
    assert "data:video/mp4;base64,YSBmaWxt" in pages[0] and "<title>a &lt;b&gt;</title>" in pages[0]
    for page in pages:
        sources = re.findall(r'(?:src|href)="([^"]{0,40})', page)
        assert len(sources) == 2 and all(source.startswith("data:") for source in sources)
        assert "length=0.1;" in page.replace("\n", " "), "two steps at 20 a second"
    assert len(pages[0]) > len(pages[1]), "a panel more: the perspectives"


def test_the_best_and_the_worst_of_each_outcome():
    errors = [(True, 0.3), (False, 0.2), (True, 0.1), (True, 0.2), (False, 0.5)]
    assert extremes(errors) == {"success-best": 2, "success-worst": 0, "failure-best": 1, "failure-worst": 4}
    assert extremes(errors[:2]) == {"success-best": 0, "failure-best": 1}, "one episode is not shown twice"
