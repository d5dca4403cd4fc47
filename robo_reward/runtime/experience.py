"""What the learner learns from: episodes in the store, their potentials in the tracks, both mirrored in the replays.

The store and the tracks last; the replays are rebuilt from them. All potentials in use are of one reward model: another
one is proposed from outside (`robo-reward annotate store=...`), takes over between two rollouts, and only once every
episode is annotated by it. An episode that the reward model has not answered about waits: it lies in the store, and
enters the replays once it is annotated.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from robo_reward.config import Config
from robo_reward.data.store import StoredEpisode, TransitionStore
from robo_reward.data.tracks import Choice, TrackStore
from robo_reward.interfaces import Unanswered
from robo_reward.learning.replay import EpisodeReplay
from robo_reward.learning.residual_ppo import Rollout
from robo_reward.learning.residual_td3 import ResidualTD3
from robo_reward.learning.symmetry import turns_of
from robo_reward.policies.inputs import policy_input
from robo_reward.runtime.believed import Judge, believed
from robo_reward.runtime.tasks import task_of
from robo_reward.shaping.schemes import WHOLE_EPISODES
from robo_reward.terminal import say
from robo_reward.types import Episode, PhiTrack

Annotate = Callable[[Sequence[Episode]], list[PhiTrack]]
"""A reward model: the tracks of several episodes, their questions in one batch."""
DEMONSTRATIONS, ONLINE = "demonstrations", "online"
"""The actors under which the store keeps them; those of an async run are `ONLINE` and their number."""


class Experience:
    """Demonstrations and online episodes of one run.

    Args:
        folder: of the run's training stage; store and tracks are made in it.
        annotate: the run's own reward model.
        load_annotate: the reward model that a proposal names, from its folder.
        judge: who says that an online rollout did its task; None: the simulator.
    """

    def __init__(
        self,
        config: Config,
        agent: ResidualTD3,
        folder: Path,
        annotate: Annotate,
        load_annotate: Callable[[str], Annotate],
        judge: Judge | None = None,
    ) -> None:
        self.config, self.agent, self.load_annotate, self.judge = config, agent, load_annotate, judge
        self.self_imitation = config.agent.self_imitation
        self._keeps = _why_one_reward(config)
        """Why another reward model cannot take over; empty where one can."""
        self.store = TransitionStore(folder / "store", writable=True)
        self.tracks = TrackStore(folder / "tracks")
        self.demonstrations, self.online = new_replay(config, agent), new_replay(config, agent)
        self.warmup, self._warmup_rollouts = new_replay(config, agent), config.train.warmup_rollouts
        """The first online episodes once more, to be drawn apart from the others."""
        chosen = self.tracks.in_force
        self.annotate = annotate if chosen is None else load_annotate(chosen.source)
        self.recent: deque[Rollout] = deque(maxlen=config.agent.on_policy_rollouts)
        """The newest online rollouts, for learners that are not off-policy."""
        self.waiting: list[str] = []
        """Ids of the online episodes without annotation, oldest first."""
        self._known: dict[str, PhiTrack] = {}
        self._priorities: dict[str, torch.Tensor] = {}
        """Of a checkpoint, by the replay's name."""
        self._refused: Choice | None = None
        self._loaded: tuple[Choice, Annotate] | None = None
        """The proposed reward model: one elsewhere remembers that it does not answer."""

    def add_demonstrations(self, episodes: list[Episode]) -> None:
        """Take the demonstrations in, with the base's actions at their observations; once more changes nothing."""
        sequence = 0
        own = self.annotate(episodes[:1])[0].model_id
        self._known = self.tracks.read(own)
        for episode in episodes:
            sequence = self.store.append_episode(DEMONSTRATIONS, sequence, episode)
        self._remember(self.demonstrations, episodes, demonstration=True)

    def add(self, sequence: int, episodes: list[Episode]) -> int:
        """Take online episodes in under the actor's sequence number; returns the next one. Durable on return."""
        for episode in episodes:
            sequence = self.store.append_episode(ONLINE, sequence, episode)
        self._take(episodes)
        return sequence

    def relearn(self, demonstrations: list[Episode], episodes: list[Episode]) -> None:
        """Fill all replays anew: with the demonstrations and these online episodes, all of them in the store."""
        self.demonstrations, self.warmup, self.online = (new_replay(self.config, self.agent) for _ in range(3))
        self.recent.clear()
        self.waiting = []
        self._remember(self.demonstrations, demonstrations, demonstration=True)
        self.take(episodes)

    def take(self, episodes: list[Episode]) -> None:
        """Learn from online episodes that lie in the store already."""
        for episode in episodes:
            self._take([episode])

    def catch_up(self) -> None:
        """Ask once more about the episodes that wait, the newest first, for as long as there are answers."""
        for name in reversed(self.waiting.copy()):
            try:
                self._remember(self.online, [self._stored(name)])
            except Unanswered:
                return
            self.waiting.remove(name)
            if not self.waiting:
                say("the reward model answers again: no episode waits for its annotation", self.config.quiet)

    def _take(self, episodes: list[Episode]) -> None:
        try:
            self._remember(self.online, episodes)
        except Unanswered as error:
            if not self.waiting:
                say(f"{error}: episodes wait for their annotation, training goes on", self.config.quiet)
            self.waiting += [episode.episode_id for episode in episodes]

    def _stored(self, episode_id: str) -> Episode:
        """The episode, with frames where somebody is still to look at them."""
        looked_at = episode_id not in self._known or self.judge is not None or self.agent.eyes is not None
        return self.store.read(episode_id, frames=looked_at)

    def restore(self, count: int) -> list[Episode]:
        """Fill the online replay with the first `count` online episodes of the store.

        Returns the later ones: stored, but the run was interrupted before its next checkpoint. A robot could not
        repeat them.
        """
        online = self.stored_online()
        for entry in online[:count]:
            self._take([self._stored(entry.episode_id)])
        for name, replay in self._replays.items():
            if name in self._priorities:
                replay.restore_priorities(self._priorities[name].numpy())
        return [self.store.read(entry.episode_id) for entry in online[count:]]

    def state_dict(self) -> dict[str, torch.Tensor]:
        """What the store does not hold: the windows' priorities."""
        return {name: torch.from_numpy(replay.priorities) for name, replay in self._replays.items()}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Take a checkpoint's priorities, for `restore` to put back once the windows are there."""
        self._priorities = state

    @property
    def _replays(self) -> dict[str, EpisodeReplay]:
        return {"demonstrations": self.demonstrations, "warmup": self.warmup, "online": self.online}

    def stored_online(self) -> list[StoredEpisode]:
        """The store's online episodes, whoever acted, in the order in which they ended."""
        return [entry for entry in self.store.episodes() if entry.actor != DEMONSTRATIONS]

    @property
    def model_id(self) -> str | None:
        """Id of the reward model behind all potentials in use."""
        return self.demonstrations.model_id

    def potential(self, episode_id: str) -> np.ndarray | None:
        """Potential of an episode's observations, (T+1,); None while it waits for its annotation."""
        return self._known[episode_id].phi if episode_id in self._known else None

    def swap_if_proposed(self) -> None:
        """Go over to the reward model that was proposed, if any; one that does not fit is told and passed over."""
        proposal = self.tracks.proposal
        if proposal is None or proposal == self._refused or proposal.model_id == self.model_id:
            return
        try:
            if self._keeps:
                raise ValueError(self._keeps)
            if self._loaded is None or self._loaded[0] != proposal:
                self._loaded = proposal, self.load_annotate(proposal.source)
            annotate, known = self._loaded[1], self.tracks.read(proposal.model_id)
            entries = self.store.episodes()
            for entry in entries:  # the annotator cannot know the newest ones
                if entry.episode_id not in known:
                    [track] = annotate([self.store.read(entry.episode_id)])
                    self.tracks.write(proposal.model_id, {entry.episode_id: track})
            known = self.tracks.put_in_force(proposal, [entry.episode_id for entry in entries])
        except Unanswered:
            return  # it stays proposed
        except (ValueError, FileNotFoundError) as error:
            say(f"the proposed reward model {proposal.model_id} is not taken up: {error}")
            self._refused = proposal
            return
        for replay in self._replays.values():
            replay.swap_tracks(proposal.model_id, known)
        self.annotate, self._known = annotate, known
        self.catch_up()

    def _remember(self, replay: EpisodeReplay, episodes: list[Episode], demonstration: bool = False) -> None:
        if unknown := [episode for episode in episodes if episode.episode_id not in self._known]:
            fresh = {e.episode_id: t for e, t in zip(unknown, self.annotate(unknown), strict=True)}
            # In one piece: a resumed run must not annotate a part of the batch, which might round differently.
            self.tracks.write(next(iter(fresh.values())).model_id, fresh)
            self._known |= fresh
        for episode in episodes:
            inputs = policy_input(episode.agent_pos, episode.perceived, self.agent.columns)
            track, eyes = self._known[episode.episode_id], self.agent.eyes
            frames = None if eyes is None else eyes.frames(episode.frames)
            if self.judge is not None and not demonstration:
                episode, track = believed(episode, track, self.judge(episode))
                inputs = inputs[: len(episode) + 1]
            shown = 1.0 if demonstration else self.self_imitation * episode.success
            replay.append(episode, inputs, track, demonstration=shown, frames_TVHWC=frames)
            if demonstration:
                continue
            if self.warmup.episodes < self._warmup_rollouts:
                self.warmup.append(episode, inputs, track, demonstration=shown, frames_TVHWC=frames)
            self.recent.append((replace(episode, frame_steps=episode.frame_steps[:0], frames={}), track, inputs))
            if episode.intervention is not None and episode.intervention.any():
                # A correction teaches the critics as a demonstration does; it is imitated only where it led to success.
                self.demonstrations.append(
                    episode, inputs, track, demonstration=episode.success, begin_T=episode.intervention,
                    frames_TVHWC=frames,
                )  # fmt: skip

    def close(self) -> None:
        """Let store and tracks go."""
        self.store.close()
        self.tracks.close()

    def __enter__(self) -> Experience:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _why_one_reward(config: Config) -> str:
    if config.shaping.kind in WHOLE_EPISODES:
        return "this run's shaping makes its own tracks: use shaping=potential"
    if config.train.task_reward == "completion":
        return "its episodes end where the first model called them done: set train.task_reward=environment"
    if config.agent.kind == "residual_ppo":
        return "residual_ppo learns from its newest rollouts, all under one model: use another agent"
    return ""


def new_replay(config: Config, agent: ResidualTD3) -> EpisodeReplay:
    """An empty replay for this agent."""
    s, symmetry = config.agent, task_of(config.env).symmetry
    size, turns = len(agent.mean), None
    if s.symmetry and symmetry is not None and config.observation == "state":
        turns = turns_of(symmetry, agent.columns or range(size), agent.action_size)
    return EpisodeReplay(
        s.replay_capacity, size, agent.action_size, s.n_step, s.gamma, agent.phase_size, s.priority, turns
    )
