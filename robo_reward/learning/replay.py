"""Episode-safe replay: contiguous episodes in preallocated arrays, n-step windows that never leave their episode."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robo_reward.types import Episode, PhiTrack


@dataclass(frozen=True)
class Batch:
    """B n-step windows; m <= n is a window's true length, shortened by the end of its episode."""

    state_BS: np.ndarray
    base_BA: np.ndarray
    action_BA: np.ndarray
    """The executed action at the window's first step."""
    reward_B: np.ndarray
    """Sum of gamma^i r_task over the window, unshaped."""
    discount_B: np.ndarray
    """gamma^m."""
    terminated_B: np.ndarray
    """1 where the window ends in a terminal state: nothing is bootstrapped there. A time-out is not terminal."""
    next_state_BS: np.ndarray
    next_base_BA: np.ndarray
    phi_BW: np.ndarray
    """Potential of the window's n+1 observations, the last one held beyond m; one reward model id for all."""
    length_B: np.ndarray
    """m."""
    demonstration_B: np.ndarray
    """1 where the first step's action came from a demonstrator."""


class EpisodeReplay:
    """Holds whole episodes; T actions take T+1 slots, so that the true final observation is stored.

    Arguments: `capacity` in observations, sizes of the policy's input and of the action, `n_step`, `gamma`.
    A full replay refuses further episodes with ValueError instead of overwriting half of one.
    """

    def __init__(self, capacity: int, state_size: int, action_size: int, n_step: int, gamma: float):
        self.n_step, self.gamma, self.capacity = n_step, gamma, capacity
        self.state = np.zeros((capacity, state_size), np.float32)
        self.base = np.zeros((capacity, action_size), np.float32)
        self.action = np.zeros((capacity, action_size), np.float32)
        self.reward = np.zeros(capacity, np.float32)
        self.length = np.zeros(capacity, np.int64)
        self.ends_terminated = np.zeros(capacity, np.float32)
        self.phi = np.zeros(capacity, np.float32)
        self.demonstration = np.zeros(capacity, np.float32)
        self.starts = np.zeros(capacity, np.int64)
        """Slots at which a window may begin: every observation that an action follows."""
        self.size = self.transitions = self.episodes = 0
        self.model_id: str | None = None

    def append(self, episode: Episode, state_TS: np.ndarray, track: PhiTrack, *, demonstration: bool) -> None:
        """Add one annotated episode with the policy's inputs (T+1, S) and base actions at every observation."""
        steps = len(episode)
        if episode.base_action is None:
            raise ValueError(f"episode {episode.episode_id} has no base actions; query the base policy on it first")
        if self.model_id not in (None, track.model_id):
            raise ValueError(
                f"episode {episode.episode_id} is annotated by {track.model_id}, this replay by {self.model_id}: "
                "annotate all episodes with one reward model"
            )
        if self.size + steps + 1 > self.capacity:
            raise ValueError(f"replay of {self.capacity} observations is full; raise agent.capacity")
        self.model_id = track.model_id
        rows = slice(self.size, self.size + steps + 1)
        self.state[rows], self.base[rows], self.phi[rows] = state_TS, episode.base_action, track.phi
        first = slice(self.size, self.size + steps)
        self.action[first] = episode.action
        lengths = np.minimum(self.n_step, steps - np.arange(steps))
        returns = np.zeros(steps, np.float32)
        for offset in range(self.n_step):
            inside = offset < lengths
            returns[inside] += self.gamma**offset * episode.reward[np.arange(steps)[inside] + offset]
        self.reward[first], self.length[first] = returns, lengths
        self.ends_terminated[first] = (np.arange(steps) + lengths == steps) * float(episode.terminated)
        self.demonstration[first] = float(demonstration)
        self.starts[self.transitions : self.transitions + steps] = np.arange(self.size, self.size + steps)
        self.size, self.transitions, self.episodes = (
            self.size + steps + 1,
            self.transitions + steps,
            self.episodes + 1,
        )

    def sample(self, batch: int, rng: np.random.Generator) -> Batch:
        """`batch` windows, uniform over transitions."""
        if self.transitions == 0:
            raise ValueError("the replay is empty: append an episode before sampling")
        first = self.starts[rng.integers(self.transitions, size=batch)]
        length = self.length[first]
        last = first + length
        window = first[:, None] + np.minimum(np.arange(self.n_step + 1), length[:, None])
        return Batch(
            state_BS=self.state[first],
            base_BA=self.base[first],
            action_BA=self.action[first],
            reward_B=self.reward[first],
            discount_B=(self.gamma**length).astype(np.float32),
            terminated_B=self.ends_terminated[first],
            next_state_BS=self.state[last],
            next_base_BA=self.base[last],
            phi_BW=self.phi[window],
            length_B=length,
            demonstration_B=self.demonstration[first],
        )


def concatenate(first: Batch, second: Batch) -> Batch:
    """Both batches as one: half demonstrations, half online."""
    names = first.__dataclass_fields__
    return Batch(**{name: np.concatenate([getattr(first, name), getattr(second, name)]) for name in names})
