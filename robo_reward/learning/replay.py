"""Episode-safe replay: whole episodes in a preallocated ring, n-step windows that never leave their episode.

Sampling is a handful of array operations whatever the size; only frames are fetched one by one. What it holds
is rebuilt from the transition store, so nothing here needs to survive a crash but the priorities.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from robo_reward.learning.sum_tree import SumTree
from robo_reward.learning.symmetry import Turns, turned
from robo_reward.types import Episode, PhiTrack


@dataclass(frozen=True)
class Batch:
    """B n-step windows; m <= n is a window's true length, shortened by the end of its episode."""

    state_BS: np.ndarray
    base_BR: np.ndarray
    """The base policy's action and its phase."""
    action_BA: np.ndarray
    """The executed action at the window's first step."""
    reward_B: np.ndarray
    """Sum of gamma^i r_task over the window, unshaped."""
    discount_B: np.ndarray
    """gamma^m."""
    terminated_B: np.ndarray
    """1 where the window ends in a terminal state: nothing is bootstrapped there. A time-out is not terminal."""
    next_state_BS: np.ndarray
    next_base_BR: np.ndarray
    phi_BW: np.ndarray
    """Potential of the window's n+1 observations, the last one held beyond m; one reward model id for all."""
    length_B: np.ndarray
    """m."""
    demonstration_B: np.ndarray
    """How much the first step's action is worth imitating: 1 a demonstrator's, 0 or less than 1 the policy's own."""
    weight_B: np.ndarray
    """Importance of each window's error: 1 for uniform sampling."""
    place_B: np.ndarray
    """Where the window was drawn, for `EpisodeReplay.prioritise`."""
    frames_BVHWC: np.ndarray | None = None
    """The cameras' frames at the window's first observation, uint8; None for learners without eyes."""
    next_frames_BVHWC: np.ndarray | None = None


@dataclass(frozen=True)
class _Kept:
    episode_id: str
    start: int
    slots: int
    windows: int


class EpisodeReplay:
    """Holds whole episodes; T actions take T+1 slots, so that the true final observation is stored.

    Arguments: `capacity` in observations; sizes of the policy's input and of the action; `n_step`; `gamma`; size of the
    base's phase; `priority` alpha, 0 for uniform sampling (Schaul et al., arXiv 1511.05952); the turns of a symmetric
    task, by which every window that is drawn is turned at random.
    When it is full the oldest episodes make room.
    """

    def __init__(
        self,
        capacity: int,
        state_size: int,
        action_size: int,
        n_step: int,
        gamma: float,
        phase_size: int = 0,
        priority: float = 0.0,
        turns: Turns | None = None,
    ):
        self.n_step, self.gamma, self.capacity, self.priority = n_step, gamma, capacity, priority
        self.turns = turns
        sizes = (state_size, action_size + phase_size, action_size, 1, 1, 1, 1)
        edges = np.cumsum([0, *sizes])
        self._state, self._base, self._action, self._reward, self._length, self._ends, self._shown = (
            slice(a, b) for a, b in zip(edges, edges[1:], strict=False)
        )
        # One row per observation: a window then touches two places in memory however many fields it has.
        self._rows = np.zeros((capacity, edges[-1]), np.float32)
        self._phi = np.zeros(capacity, np.float32)
        self._frames: dict[int, np.ndarray] = {}
        """Slot -> frames (V, H, W, 3), each a part of its episode's array: replays that share an episode share it."""
        self._starts = np.zeros(capacity, np.int64)
        """A ring of the slots at which a window may begin."""
        self._oldest = 0
        """Place of the oldest of them."""
        self._kept: deque[_Kept] = deque()
        self._head = 0
        self._tree = SumTree(capacity) if priority else None
        self._largest = 1.0
        self.transitions = 0
        self.model_id: str | None = None

    @property
    def episodes(self) -> int:
        """Episodes held."""
        return len(self._kept)

    def append(
        self,
        episode: Episode,
        state_TS: np.ndarray,
        track: PhiTrack,
        *,
        demonstration: float,
        begin_T: np.ndarray | None = None,
        frames_TVHWC: np.ndarray | None = None,
    ) -> None:
        """Add one annotated episode with the policy's inputs (T+1, S) and base rows at every observation.

        Frames (T+1, V, H, W, 3) are not copied.

        Windows begin at every step, or only where `begin_T` is True; the episode is kept whole all the same, so that a
        window at the edge of a correction ends at its own next observation.
        """
        steps = len(episode)
        begins = np.arange(steps) if begin_T is None else np.flatnonzero(begin_T)
        if episode.base_action is None:
            raise ValueError(f"episode {episode.episode_id} has no base actions; query the base policy on it first")
        if self.model_id not in (None, track.model_id):
            raise ValueError(
                f"episode {episode.episode_id} is annotated by {track.model_id}, this replay by {self.model_id}: "
                "annotate all episodes with one reward model"
            )
        if frames_TVHWC is not None and len(frames_TVHWC) <= steps:
            raise ValueError(
                f"episode {episode.episode_id} has {len(frames_TVHWC)} frames of {steps + 1}: a learner that sees "
                "needs every step's"
            )
        if steps + 1 > self.capacity:
            raise ValueError(f"an episode of {steps} steps exceeds agent.replay_capacity={self.capacity}: raise it")
        self.model_id = track.model_id
        start = self._make_room(steps + 1)
        rows = self._rows[start : start + steps + 1]
        rows[:, self._state], self._phi[start : start + steps + 1] = state_TS, track.phi
        rows[:, self._base] = base_rows(episode)
        rows[:steps, self._action] = episode.action
        lengths = np.minimum(self.n_step, steps - np.arange(steps))
        returns = np.zeros(steps, np.float32)
        for offset in range(self.n_step):
            inside = offset < lengths
            returns[inside] += self.gamma**offset * episode.reward[np.arange(steps)[inside] + offset]
        rows[:steps, self._reward], rows[:steps, self._length] = returns[:, None], lengths[:, None]
        rows[:steps, self._ends] = ((np.arange(steps) + lengths == steps) * float(episode.terminated))[:, None]
        rows[:steps, self._shown] = demonstration
        if frames_TVHWC is not None:
            self._frames |= dict(enumerate(frames_TVHWC[: steps + 1], start))
        places = (self._oldest + self.transitions + np.arange(len(begins))) % self.capacity
        self._starts[places] = start + begins
        if self._tree is not None:
            self._tree.set(places, np.full(len(begins), self._largest))
        self._kept.append(_Kept(episode.episode_id, start, steps + 1, len(begins)))
        self.transitions += len(begins)

    def _make_room(self, slots: int) -> int:
        """First of `slots` free places in a row; the oldest episodes leave for them."""
        start = self._head if self._head + slots <= self.capacity else 0
        wrapped = start < self._head
        while self._kept:
            oldest = self._kept[0]
            behind = wrapped and oldest.start >= self._head
            if not behind and (oldest.start >= start + slots or oldest.start + oldest.slots <= start):
                break
            self._kept.popleft()
            for slot in range(oldest.start, oldest.start + oldest.slots):
                self._frames.pop(slot, None)
            gone = oldest.windows
            if self._tree is not None:
                self._tree.set(self._places(gone), np.zeros(gone))
            self._oldest = (self._oldest + gone) % self.capacity
            self.transitions -= gone
        self._head = start + slots
        return start

    def _places(self, count: int) -> np.ndarray:
        """Of the oldest windows, in their order."""
        return (self._oldest + np.arange(count)) % self.capacity

    def sample(self, batch: int, rng: np.random.Generator, beta: float = 0.4) -> Batch:
        """`batch` windows: uniform over transitions, or by priority with importance weights of exponent `beta`."""
        if self.transitions == 0:
            raise ValueError("the replay is empty: append an episode before sampling")
        if self._tree is None:
            place = (self._oldest + rng.integers(self.transitions, size=batch)) % self.capacity
            weight = np.ones(batch, np.float32)
        else:
            place, chance = self._tree.sample(batch, rng)
            weight = ((chance * self.transitions) ** -beta).astype(np.float32)
            weight /= weight.max()
        first = self._starts[place]
        rows = self._rows.take(first, axis=0)
        length = rows[:, self._length.start].astype(np.int64)
        following = self._rows.take(first + length, axis=0)
        window = first[:, None] + np.minimum(np.arange(self.n_step + 1), length[:, None])
        drawn = Batch(
            state_BS=rows[:, self._state],
            base_BR=rows[:, self._base],
            action_BA=rows[:, self._action],
            reward_B=rows[:, self._reward.start],
            discount_B=(self.gamma**length).astype(np.float32),
            terminated_B=rows[:, self._ends.start],
            next_state_BS=following[:, self._state],
            next_base_BR=following[:, self._base],
            phi_BW=self._phi[window],
            length_B=length,
            demonstration_B=rows[:, self._shown.start],
            weight_B=weight,
            place_B=place,
        )
        if self._frames:
            seen, then = (np.stack([self._frames[int(slot)] for slot in at]) for at in (first, first + length))
            drawn = replace(drawn, frames_BVHWC=seen, next_frames_BVHWC=then)
        return drawn if self.turns is None else turned(drawn, self.turns, rng)

    def prioritise(self, place_B: np.ndarray, error_B: np.ndarray) -> None:
        """Sample the windows drawn at `place_B` in proportion to |error|^alpha from now on; nothing when uniform."""
        if self._tree is not None:
            priority = (np.abs(error_B) + 1e-3) ** self.priority
            self._largest = max(self._largest, float(priority.max()))
            self._tree.set(place_B, priority)

    @property
    def priorities(self) -> np.ndarray:
        """The largest so far, then that of every window, the oldest first; empty when uniform."""
        if self._tree is None:
            return np.zeros(0)
        return np.append(self._largest, self._tree.weights(self._places(self.transitions)))

    def restore_priorities(self, priorities: np.ndarray) -> None:
        """Put back what `priorities` said of these windows; nothing where it was of another number of them."""
        if self._tree is not None and 1 < len(priorities) == self.transitions + 1:
            self._largest = float(priorities[0])
            self._tree.set(self._places(self.transitions), priorities[1:])

    def swap_tracks(self, model_id: str, tracks: Mapping[str, PhiTrack]) -> None:
        """Replace the potential of every episode by that of another reward model, all at once.

        Raises:
            ValueError: an episode has no track, or one of another model or length; the potentials stay as they were.
        """
        fresh = np.zeros_like(self._phi)
        for kept in self._kept:
            track = tracks.get(kept.episode_id)
            if track is None or track.model_id != model_id or len(track.phi) != kept.slots:
                raise ValueError(
                    f"episode {kept.episode_id} is not annotated by {model_id}: annotate it before the swap"
                )
            fresh[kept.start : kept.start + kept.slots] = track.phi
        self._phi, self.model_id = fresh, model_id


def base_rows(episode: Episode) -> np.ndarray:
    """What a learner sees of the base at each observation, (T+1, A+K): its action and its phase."""
    assert episode.base_action is not None
    if episode.base_phase is None:
        return episode.base_action
    return np.concatenate([episode.base_action, episode.base_phase], axis=1)


DIVERGED = "the learner has diverged: lower agent.learning_rate and agent.actor_learning_rate"


def whose_fault(batch: Batch) -> str:
    """Why an update on this batch has no finite gradient, and what to do, in one line."""
    for name in _fields(batch):
        if bad := int((~np.isfinite(getattr(batch, name))).reshape(len(batch.place_B), -1).any(1).sum()):
            return f"{name} is not finite in {bad} of a batch's windows: look for the episode with doctor store=FOLDER"
    return DIVERGED


def concatenate(*batches: Batch, updates: int = 1) -> Batch:
    """Several batches as one: demonstrations, then online; so for each of several updates that share them."""

    def together(name: str) -> np.ndarray:
        parts = [getattr(batch, name) for batch in batches]
        each = [part.reshape(updates, -1, *part.shape[1:]) for part in parts]
        return np.concatenate(each, axis=1).reshape(-1, *parts[0].shape[1:])

    return Batch(**{name: together(name) for name in _fields(batches[0])})


def _fields(batch: Batch) -> list[str]:
    """Those that are not None."""
    return [name for name in batch.__dataclass_fields__ if getattr(batch, name) is not None]
