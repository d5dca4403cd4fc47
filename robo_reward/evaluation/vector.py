"""Several environments at once, each a process of its own: the same episodes as one environment gives, sooner.

An episode depends on its seed and its actor alone, so it does not matter which environment runs it, nor beside whom:
whatever their number, the episodes equal those of `run_episode` bit for bit and come in the order asked for.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, VectorEnv

from robo_reward.evaluation.rollout import Actor, EpisodeRecorder, is_query, run_episode
from robo_reward.types import Episode

Environments = gymnasium.Env[Any, Any] | VectorEnv[Any, Any, Any]
"""One environment, or several from `make_vector`."""


@dataclass(frozen=True)
class Job:
    """One episode to run."""

    seed: int
    source: str
    act: Actor
    """Fresh for this episode, see `run_episode`."""


def make_vector(make: Callable[[], gymnasium.Env[Any, Any]], count: int) -> AsyncVectorEnv[Any, Any]:
    """Environments for `run_jobs`, each in a process of its own; `close` ends them.

    Processes are spawned, not forked, because OpenGL does not survive a fork; they inherit this process's environment
    variables, MUJOCO_GL among them. As with every spawned process, a script that calls this needs its
    `if __name__ == "__main__":`.

    Args:
        make: builds one environment; it is called in every process, and once in this one to learn the spaces.
        count: number of environments, at least 1.

    Raises:
        ValueError: `count` is below 1.
        ChildProcessError: a process died while it made its environment.
    """
    if count < 1:
        raise ValueError(f"count={count} environments: give at least 1")
    owner = os.getpid()

    def make_slot() -> gymnasium.Env[Any, Any]:
        if os.getpid() != owner:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; their owner ends them
        return _Slot(make())

    slots = [make_slot] * count
    return _ask(_Processes, slots, context="spawn", autoreset_mode=AutoresetMode.DISABLED)


def run_episodes(
    env: Environments,
    make_actor: Callable[[int], Actor],
    seeds: Sequence[int],
    *,
    source: str,
    query_every: int = 0,
) -> Iterator[Episode]:
    """Every seed's whole episode, in the order of `seeds`; each equals `run_episode(env, make_actor(seed), ...)`.

    Args:
        env: one environment, or several from `make_vector`.
        make_actor: seed -> a fresh actor; called in the order of `seeds`.
        seeds: of the initial states.
        source: who acts.
        query_every: [steps] between the views that are kept; 0 keeps none.
    """
    return run_jobs(env, (Job(seed, source, make_actor(seed)) for seed in seeds), query_every=query_every)


def run_jobs(
    env: Environments,
    jobs: Iterable[Job],
    *,
    query_every: int = 0,
    again: Callable[[Episode], Job | None] | None = None,
) -> Iterator[Episode]:
    """Every job's episode, in the order of `jobs`; as many run at once as there are environments.

    Args:
        env: one environment, or several from `make_vector`.
        jobs: taken one by one, as environments become free.
        query_every: [steps] between the views that are kept; 0 keeps none.
        again: the job to run in place of one whose episode is not wanted; None where it is.

    Raises:
        ChildProcessError: an environment's process died.
    """
    if isinstance(env, VectorEnv):
        yield from _run_at_once(env, jobs, query_every, again)
        return
    for job in jobs:
        retry: Job | None = job
        while retry is not None:
            episode = run_episode(env, retry.act, seed=retry.seed, source=retry.source, query_every=query_every)
            retry = again(episode) if again is not None else None
        yield episode


def _run_at_once(
    env: VectorEnv[Any, Any, Any], jobs: Iterable[Job], query_every: int, again: Callable[[Episode], Job | None] | None
) -> Iterator[Episode]:
    queue = enumerate(jobs)
    waiting = dict(zip(range(env.num_envs), queue, strict=False))
    running: dict[int, tuple[int, EpisodeRecorder]] = {}
    finished: dict[int, Episode] = {}
    due = 0
    while waiting or running:
        if waiting:
            observations, answers = _reset(env, {slot: job.seed for slot, (_, job) in waiting.items()}, query_every)
            for slot, (place, job) in waiting.items():
                observation = {key: value[slot] for key, value in observations.items()}
                running[slot] = place, EpisodeRecorder(job.act, job.seed, job.source, observation, *answers[slot])
            waiting = {}
        actions = {slot: recorder.action() for slot, (_, recorder) in running.items()}
        observations, rewards, terminated, truncated, answers = _step(env, actions)
        for slot, (place, recorder) in list(running.items()):
            observation = {key: value[slot] for key, value in observations.items()}
            recorder.append(observation, rewards[slot], terminated[slot], truncated[slot], *answers[slot])
            if not recorder.ended:
                continue
            del running[slot]
            episode = recorder.episode()
            retry = again(episode) if again is not None else None
            if retry is not None:
                waiting[slot] = place, retry
                continue
            finished[place] = episode
            if (following := next(queue, None)) is not None:
                waiting[slot] = following
        while due in finished:
            yield finished.pop(due)
            due += 1


def _reset(env: VectorEnv[Any, Any, Any], seeds: dict[int, int], query_every: int) -> tuple[Any, Any]:
    """Start an episode in some slots: slot -> seed. (observations, slot -> (info, views))."""
    mask = np.array([slot in seeds for slot in range(env.num_envs)])
    options = {"reset_mask": mask, "query_every": query_every}
    # gymnasium takes a list of seeds, its annotation notwithstanding.
    observations, infos = _ask(env.reset, seed=[seeds.get(slot) for slot in range(env.num_envs)], options=options)
    return _low(observations), infos[_ANSWER]


def _step(env: VectorEnv[Any, Any, Any], actions: dict[int, np.ndarray]) -> tuple[Any, ...]:
    """Step some slots, the others rest: (observations, rewards, terminated, truncated, slot -> (info, views))."""
    rest = np.zeros_like(next(iter(actions.values())))
    batch = np.stack([actions.get(slot, rest) for slot in range(env.num_envs)])
    observations, rewards, terminated, truncated, infos = _ask(env.step, batch)
    return _low(observations), rewards, terminated, truncated, infos[_ANSWER]


def _low(observations: dict[str, Any]) -> dict[str, np.ndarray]:
    """The vectors of a batch of observations that an episode keeps."""
    return {key: observations[key] for key in ("agent_pos", "estimate", "features") if key in observations}


def _ask(request: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    try:
        return request(*arguments, **named)
    except (EOFError, ConnectionError) as error:
        raise ChildProcessError(
            "an environment's process died (killed, or short of memory): lower env.count, or set env.count=1 to see why"
        ) from error


_ANSWER = "answer"


class _Slot(gymnasium.Wrapper[Any, Any, Any, Any]):
    """What runs in a process: an environment that looks at itself at query steps and rests once its episode is over.

    Resting, because gymnasium steps all environments or none: it repeats its observation and simulates nothing. What
    the environment says goes through as one object, because gymnasium merges the entries of infos into arrays whose
    dtype is that of the first value it meets (an int 0 there makes every progress an int).
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        self._observation: Any = env.observation_space.sample()  # of no meaning: it rests until its reset
        self._resting, self._steps, self._every = True, 0, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode; `options={"query_every": N}` is for this wrapper, the others for the environment."""
        options = dict(options or {})
        self._every = options.pop("query_every", 0)
        self._observation, info = self.env.reset(seed=seed, options=options or None)
        self._resting, self._steps = False, 0
        return self._observation, self._answer(info)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Step the environment, or repeat the last observation when the episode is over."""
        if self._resting:
            return self._observation, 0.0, False, False, {}
        self._observation, reward, terminated, truncated, info = self.env.step(action)
        self._resting, self._steps = bool(terminated or truncated), self._steps + 1
        return self._observation, float(reward), terminated, truncated, self._answer(info)

    def _answer(self, info: dict[str, Any]) -> dict[str, Any]:
        look = is_query(self._steps, self._every, self._resting)
        return {_ANSWER: (info, self.env.get_wrapper_attr("render_views")() if look else None)}


class _Processes(AsyncVectorEnv[Any, Any]):
    def close_extras(self, timeout: float | None = None, terminate: bool = False) -> None:
        """End every process at once: there is nothing in it to save, and gymnasium would wait for the answers to a step
        that Ctrl-C or a dead process has cut short, which never come."""
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.join()
        for pipe in self.parent_pipes:
            if pipe is not None:
                pipe.close()
