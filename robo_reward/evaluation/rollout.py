"""One policy, one environment, whole episodes: the loop that collection, evaluation and training share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import gymnasium
import numpy as np

from robo_reward.interfaces import Policy
from robo_reward.policies.chunks import looked
from robo_reward.types import Episode

Actor = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray | None]]
"""What acts in one episode: (agent_pos_P, estimate_E) -> action in [-1, 1], base policy's action and phase or None.

Where the observation has `features`, they follow the estimate's own numbers.

It may also have `base_id`, the base policy's name; `watch(info)`, told what the environment says after its reset and
every step; and `human_action`, what a person asked for in the last action, or None.
"""


def is_query(step: int, every: int, ended: bool) -> bool:
    """Whether the views at this observation are kept: the first, each `every`-th and the last; none if `every` is 0."""
    return every > 0 and (ended or step % every == 0)


class EpisodeRecorder:
    """One running episode: asks its actor, keeps what the environment answers, is an `Episode` once it has ended.

    Args:
        act: the actor, see `run_episode`.
        seed: of the initial state.
        source: who acts.
        observation: what the environment's reset returned.
        info: likewise.
        views: frames of the first observation, view -> uint8 (H, W, 3); None keeps none.
    """

    def __init__(
        self,
        act: Actor,
        seed: int,
        source: str,
        observation: Mapping[str, Any],
        info: Mapping[str, Any],
        views: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self._act, self._seed, self._source, self._info = act, seed, source, info
        self._agent_pos, self._estimate = [observation["agent_pos"]], [observation["estimate"]]
        self._features = [observation["features"]] if "features" in observation else []
        self._stages, self._oracle = [info["stage"]], [info["progress_oracle"]]
        self._actions: list[np.ndarray] = []
        self._bases: list[np.ndarray | None] = []
        self._human: list[np.ndarray | None] = []
        self._watch = getattr(act, "watch", lambda info: None)
        self._watch(info)
        self._rewards: list[float] = []
        self._gated: list[bool] = []
        self._frame_steps, self._frames = ([], []) if views is None else ([0], [views])
        self._terminated = self._truncated = False

    @property
    def ended(self) -> bool:
        """Whether the environment terminated or truncated the episode."""
        return self._terminated or self._truncated

    def __len__(self) -> int:
        return len(self._actions)

    def action(self) -> np.ndarray:
        """The actor's action (A,) on the newest observation; to be called once a step."""
        perceived = np.concatenate([self._estimate[-1], *self._features[-1:]])
        action, base = self._act(self._agent_pos[-1], perceived)
        self._bases.append(base)
        self._human.append(getattr(self._act, "human_action", None))
        return action

    def append(
        self,
        observation: Mapping[str, Any],
        reward: Any,
        terminated: bool,
        truncated: bool,
        info: Mapping[str, Any],
        views: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Keep what the environment answered to the last action, and the views there unless None."""
        self._actions.append(info["executed_action"])
        self._rewards.append(reward)
        self._gated.append(bool(info.get("gated", False)))
        self._agent_pos.append(observation["agent_pos"])
        self._estimate.append(observation["estimate"])
        if self._features:
            self._features.append(observation["features"])
        self._stages.append(info["stage"])
        self._oracle.append(info["progress_oracle"])
        self._watch(info)
        self._info, self._terminated, self._truncated = info, bool(terminated), bool(truncated)
        if views is not None:
            self._frame_steps.append(len(self._actions))
            self._frames.append(views)

    def cut(self, views: Mapping[str, np.ndarray] | None) -> None:
        """End a running episode here, as a time-out would; `views` are those of the newest observation, or None.

        A step that was asked for and that nothing was appended of is left out.
        """
        self._truncated = True
        if views is not None and self._frame_steps[-1:] != [len(self._actions)]:
            self._frame_steps.append(len(self._actions))
            self._frames.append(views)

    def episode(self, first: int = 0) -> Episode:
        """The whole episode, or from step `first` on; the actor has been asked for its base action at the last
        observation too."""
        if len(self._bases) == len(self._actions):
            self.action()
        frames_from = sum(step < first for step in self._frame_steps)
        frames = self._frames[frames_from:]
        names = frames[0].keys() if frames else ()
        base = None if self._bases[0] is None else np.asarray(self._bases[first:], np.float32)
        width = len(self._actions[0])
        human, attended = self._human[first : len(self._actions)], hasattr(self._act, "human_action")
        asked = np.array([np.zeros(width) if action is None else action for action in human], np.float32)
        return Episode(
            episode_id=f"{self._source}-{self._seed}",
            instruction=self._info["instruction"],
            source=self._source,
            seed=self._seed,
            agent_pos=np.asarray(self._agent_pos[first:], np.float32),
            estimate=np.asarray(self._estimate[first:], np.float32),
            action=np.asarray(self._actions[first:], np.float32),
            reward=np.asarray(self._rewards[first:], np.float32),
            stage=np.asarray(self._stages[first:], np.int64),
            oracle=None if self._oracle[0] is None else np.asarray(self._oracle[first:], np.float32),
            terminated=self._terminated,
            truncated=self._truncated and not self._terminated,
            success=bool(self._info["is_success"]),
            frame_steps=np.asarray(self._frame_steps[frames_from:], np.int64) - first,
            frames={name: np.stack([views[name] for views in frames]) for name in names},
            base_action=None if base is None else base[:, :width],
            base_phase=None if base is None else base[:, width:],
            base_id=getattr(self._act, "base_id", None),
            human_action=asked if attended else None,
            intervention=np.array([action is not None for action in human]) if attended else None,
            gated=np.asarray(self._gated[first:]),
            features=np.asarray(self._features[first:], np.float32) if self._features else None,
        )


def run_episode(
    env: gymnasium.Env[Any, Any],
    act: Actor,
    *,
    seed: int,
    source: str,
    query_every: int = 0,
    options: dict[str, Any] | None = None,
    follow: Callable[[EpisodeRecorder], None] = lambda recorder: None,
) -> Episode:
    """Run one episode from the initial state of `seed`.

    `act(agent_pos_P, estimate_E)` returns the action in [-1, 1] and the base policy's action followed by its phase
    (or None). It is called once more on the final observation, so that the base action there is the one a learner must
    bootstrap from, while the chunk queue is still that of this episode. `act.base_id`, if it has one, names the base
    policy. `query_every` > 0 keeps the camera views of every such step and of the last one; 0 keeps none.

    A step that `info["fault"]` speaks of, a robot's that cannot be believed, is left out: the episode is cut before it,
    and begins anew where there is nothing before it.

    `follow` is shown the recorder before every step, its action chosen, and once the episode has ended.
    """
    render = env.get_wrapper_attr("render_views") if query_every else None
    while True:
        observation, info = env.reset(seed=seed, options=options)
        recorder = EpisodeRecorder(act, seed, source, observation, info, render() if render else None)
        while not recorder.ended:
            action = recorder.action()
            follow(recorder)
            observation, reward, terminated, truncated, info = env.step(action)
            ended = terminated or truncated
            views = render() if render and is_query(len(recorder) + 1, query_every, ended) else None
            if "fault" in info:
                recorder.cut(views)
            else:
                recorder.append(observation, reward, terminated, truncated, info, views)
        if len(recorder):
            follow(recorder)
            return recorder.episode()


class PolicyActor:
    """A policy bound to one running episode: what `run_episode` calls. The state starts fresh with every episode."""

    def __init__(self, policy: Policy):
        self.policy, self.state = policy, policy.initial_state(1)
        self.info: Mapping[str, Any] = {}

    def watch(self, info: Mapping[str, Any]) -> None:
        """Takes in what the environment says."""
        self.info = info

    def __call__(self, agent_pos: np.ndarray, estimate: np.ndarray) -> tuple[np.ndarray, None]:
        state = looked(self.policy, self.state, self.info)
        action, self.state = self.policy.act(agent_pos[None], estimate[None], state)
        return action[0], None


def run_policy(
    env: gymnasium.Env[Any, Any], policy: Policy, seeds: list[int], *, source: str, query_every: int = 0
) -> Iterator[Episode]:
    """Episodes of `policy` from the initial states of `seeds`, in order."""
    for seed in seeds:
        yield run_episode(env, PolicyActor(policy), seed=seed, source=source, query_every=query_every)
