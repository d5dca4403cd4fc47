"""An evaluation that was interrupted: it goes on after the episodes that it has seen, and ends as one left alone."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from robo_reward.evaluation.paired import run_paired, summarise
from robo_reward.evaluation.sequential import design

SEEDS = range(100, 106)


class Line(gymnasium.Env):
    """An episode of some steps whose number and success are those of its seed and its first action."""

    observation_space = spaces.Dict({key: spaces.Box(-1, 1, (1,)) for key in ("agent_pos", "estimate")})
    action_space = spaces.Box(-1, 1, (1,))

    def __init__(self, fails_at: int | None = None) -> None:
        self.begun: list[int] = []
        self.fails_at = fails_at

    def reset(self, *, seed=None, options=None):
        if len(self.begun) == self.fails_at:
            raise KeyboardInterrupt
        self.begun.append(seed)
        self.seed, self.steps = seed, 0
        return self._observation(), {"stage": 0, "progress_oracle": 0.0, "instruction": "go"}

    def step(self, action):
        self.steps += 1
        ended = self.steps >= 2 + self.seed % 3
        success = ended and float(action[0]) > (self.seed % 5) / 5 - 0.5
        info = {
            "stage": int(success), "progress_oracle": 0.0, "instruction": "go", "is_success": success,
            "executed_action": action,
        }  # fmt: skip
        return self._observation(), float(success), success, ended and not success, info

    def _observation(self):
        return {key: np.zeros(1, np.float32) for key in ("agent_pos", "estimate")}


def actors():
    """Of a policy that draws something for every episode: whoever skips a draw acts differently from then on."""
    rng = np.random.default_rng(0)

    def make(seed):
        action = rng.uniform(-1, 1, 1).astype(np.float32)
        return lambda agent_pos, estimate: (action, None)

    return {"base": make, "trained": make}


def told(found):
    return {
        name: [(e.seed, e.success, len(e), e.action.tolist()) for e in episodes] for name, episodes in found.items()
    }


@pytest.mark.parametrize("seen", [1, 4, 11])
def test_an_interrupted_evaluation_goes_on_and_ends_as_one_left_alone(tmp_path, seen):
    expected = run_paired(Line(), actors(), SEEDS, quiet=True)
    kept = tmp_path / "episodes"
    with pytest.raises(KeyboardInterrupt):
        run_paired(Line(fails_at=seen), actors(), SEEDS, quiet=True, kept=kept)
    world = Line()
    found = run_paired(world, actors(), SEEDS, quiet=True, kept=kept)
    assert told(found) == told(expected) and len(world.begun) == 2 * len(SEEDS) - seen
    assert summarise(found["base"], found["trained"]) == summarise(expected["base"], expected["trained"])


def test_of_a_sequential_test_too_each_block_is_passed_over(tmp_path):
    test, kept = design(len(SEEDS), 3), tmp_path / "episodes"
    expected = run_paired(Line(), actors(), SEEDS, quiet=True, test=test)
    with pytest.raises(KeyboardInterrupt):
        run_paired(Line(fails_at=3), actors(), SEEDS, quiet=True, test=test, kept=kept)
    assert told(run_paired(Line(), actors(), SEEDS, quiet=True, test=test, kept=kept)) == told(expected)


def test_an_evaluation_that_was_killed_while_it_made_its_store_goes_on(tmp_path):
    expected = run_paired(Line(), actors(), SEEDS, quiet=True)
    kept = tmp_path / "episodes"
    kept.mkdir()
    (kept / "writer.lock").touch()
    for _ in range(2):
        assert told(run_paired(Line(), actors(), SEEDS, quiet=True, kept=kept)) == told(expected)
