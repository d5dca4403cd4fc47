"""Several environments at once give the episodes of one, bit for bit, whatever their number."""

from __future__ import annotations

import functools
from contextlib import closing
from dataclasses import fields

import gymnasium
import numpy as np
import pytest

from robo_reward.config import load_config
from robo_reward.evaluation.paired import run_paired
from robo_reward.evaluation.rollout import PolicyActor, run_episode
from robo_reward.evaluation.vector import Job, make_vector, run_episodes, run_jobs

SEEDS = [4, 1, 7, 0, 2, 5, 3]


def assert_same(first, second):
    """Every field of both lists of episodes, values and types."""
    assert [episode.episode_id for episode in first] == [episode.episode_id for episode in second]
    for one, other in zip(first, second, strict=True):
        for field in fields(one):
            a, b = getattr(one, field.name), getattr(other, field.name)
            assert type(a) is type(b) and getattr(a, "dtype", None) == getattr(b, "dtype", None), field.name
            np.testing.assert_equal(a, b, err_msg=f"{one.episode_id}.{field.name}")


# ---- a world of numbers: every observation says which episode and step it is ----


def toy_maker():
    """A function in here travels to the processes by value, one of this module would have to be importable there.

    Episodes of seed + 2 steps. Rude where an environment may be: it raises when stepped after its end, its progress is
    an int in some episodes and a fraction in others, and it says `gated` only where it is.
    """

    def make():
        class Toy(gymnasium.Env):
            action_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
            observation_space = gymnasium.spaces.Dict(
                {name: gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32) for name in ("agent_pos", "estimate")}
            )

            def reset(self, *, seed=None, options=None):
                assert seed is not None and not options
                self.number, self.time, self.over = seed, 0, False
                return self.observe(), self.info()

            def step(self, action):
                if self.over:
                    raise RuntimeError("stepped after its end")
                if np.abs(action).max() > 1:
                    raise ValueError(f"action {action} lies outside [-1, 1]")
                self.time += 1
                self.over = self.time == self.number + 2
                info = self.info() | {"executed_action": np.asarray(action, np.float32)}
                if self.time % 3 == 0:
                    info["gated"] = True
                wins = self.over and self.number % 2 == 1
                return self.observe(), self.time * 0.1 + self.number, wins, self.over and not wins, info

            def observe(self):
                code = np.array([self.number, self.time], np.float32)
                return {"agent_pos": code, "estimate": -code}

            def info(self):
                progress = 0 if self.number % 2 else 0.1 * self.time
                wins = self.over and self.number % 2 == 1
                return {
                    "stage": self.time,
                    "progress_oracle": progress,
                    "is_success": wins,
                    "instruction": f"do {self.number}",
                }

            def render_views(self):
                return {"front": np.full((4, 4, 3), 10 * self.number + self.time, np.uint8)}

        return Toy()

    return make


make_toy = toy_maker()


class ToyActor:
    """Remembers what it was asked; a base action at every observation."""

    base_id = "toy"

    def __init__(self, seed):
        self.seed, self.calls = seed, 0

    def __call__(self, agent_pos, estimate):
        assert tuple(agent_pos) == (self.seed, self.calls), "asked about another episode, or twice, or not at all"
        np.testing.assert_array_equal(estimate, -agent_pos)
        self.calls += 1
        return np.array([self.seed, self.calls]) / 100, np.array([self.calls, self.seed], np.float32)


@pytest.fixture(scope="module")
def toys():
    with closing(make_vector(make_toy, 3)) as env:
        yield env


def test_every_episode_is_whole_and_its_own(toys):
    episodes = list(run_episodes(toys, ToyActor, SEEDS, source="toy", query_every=3))
    assert [episode.seed for episode in episodes] == SEEDS
    for episode in episodes:
        steps, seed = episode.seed + 2, episode.seed
        assert len(episode.validate()) == steps and episode.instruction == f"do {seed}"
        np.testing.assert_array_equal(episode.agent_pos, [(seed, step) for step in range(steps + 1)])
        np.testing.assert_array_equal(episode.stage, np.arange(steps + 1))
        np.testing.assert_array_equal(episode.gated, [step % 3 == 0 for step in range(1, steps + 1)])
        np.testing.assert_allclose(episode.oracle, 0 if seed % 2 else 0.1 * np.arange(steps + 1), rtol=1e-6)
        np.testing.assert_allclose(episode.action[:, 1], np.arange(1, steps + 1) / 100)
        np.testing.assert_array_equal(episode.base_action, [(step + 1, seed) for step in range(steps + 1)])
        queries = sorted({*range(0, steps, 3), steps})
        np.testing.assert_array_equal(episode.frame_steps, queries)
        np.testing.assert_array_equal(episode.frames["front"][:, 0, 0, 0], [10 * seed + step for step in queries])
        assert (episode.terminated, episode.truncated, episode.success) == (seed % 2 == 1, seed % 2 == 0, seed % 2 == 1)


@pytest.mark.parametrize("query_every", [0, 1, 3])
def test_they_equal_those_of_one_environment(toys, query_every):
    env = make_toy()
    expected = [run_episode(env, ToyActor(seed), seed=seed, source="toy", query_every=query_every) for seed in SEEDS]
    assert_same(list(run_episodes(env, ToyActor, SEEDS, source="toy", query_every=query_every)), expected)
    assert_same(list(run_episodes(toys, ToyActor, SEEDS, source="toy", query_every=query_every)), expected)


@pytest.mark.parametrize("seeds", [[], [3], [5, 0], [2, 2, 2, 2]], ids=str)
def test_fewer_episodes_than_environments_and_repeated_seeds(toys, seeds):
    env = make_toy()
    expected = [run_episode(env, ToyActor(seed), seed=seed, source="toy") for seed in seeds]
    assert_same(list(run_episodes(toys, ToyActor, seeds, source="toy")), expected)


def test_what_was_left_unfinished_does_not_touch_what_comes_next(toys):
    left = run_episodes(toys, ToyActor, [9, 9, 0, 9], source="toy", query_every=1)
    with pytest.raises(AssertionError, match="another episode"):  # an actor fails amid the others' episodes
        next(run_jobs(toys, [Job(9, "toy", ToyActor(9)), Job(8, "toy", ToyActor(1))]))
    next(left)
    left.close()
    expected = [run_episode(make_toy(), ToyActor(seed), seed=seed, source="toy") for seed in SEEDS]
    assert_same(list(run_episodes(toys, ToyActor, SEEDS, source="toy")), expected)


@pytest.mark.parametrize("several", [False, True])
def test_an_unwanted_episode_is_run_again_in_its_place(toys, several):
    """Every even seed fails and is followed by the next one; the order of the jobs stays."""

    def again(episode):
        return None if episode.success else Job(episode.seed + 1, "toy", ToyActor(episode.seed + 1))

    jobs = (Job(seed, "toy", ToyActor(seed)) for seed in [6, 1, 3, 2, 8])
    found = list(run_jobs(toys if several else make_toy(), jobs, again=again))
    assert [episode.seed for episode in found] == [7, 1, 3, 3, 9]


def test_paired_evaluation_is_the_same_and_makes_its_actors_in_the_same_order(toys):
    """A policy may draw something at every start of an episode: the order of the starts must not depend on `env`."""

    def evaluate(env):
        made = []

        def maker(name):
            return lambda seed: made.append((name, seed)) or ToyActor(seed)

        return run_paired(env, {name: maker(name) for name in ("base", "final")}, SEEDS, quiet=True), made

    (one, one_made), (several, several_made) = evaluate(make_toy()), evaluate(toys)
    assert several_made == one_made and list(several) == list(one) == ["base", "final"]
    for name in one:
        assert_same(several[name], one[name])


def test_no_environment_is_refused():
    with pytest.raises(ValueError, match="count=0 environments: give at least 1"):
        make_vector(make_toy, 0)


@pytest.mark.filterwarnings("ignore:.*:UserWarning")  # gymnasium logs where it happened
def test_a_wrong_action_is_named_and_the_processes_end():
    env = make_vector(make_toy, 2)
    with closing(env), pytest.raises(ValueError, match=r"lies outside \[-1, 1\]"):
        list(run_episodes(env, lambda seed: lambda *_: (np.array([0.0, 2.0]), None), [3, 4], source="toy"))
    assert not any(process.is_alive() for process in env.processes)


# ---- PegInsert ----


@pytest.fixture(scope="module")
def peg():
    """How to make it, and the reference of one environment; episodes of different lengths."""
    pytest.importorskip("mujoco")
    make = functools.partial(gymnasium.make, "robo_reward.envs:robo_reward/PegInsert-v0", image_size=32, horizon=80)
    env = make()
    expected = [run_episode(env, peg_actor(seed), seed=seed, source="peg", query_every=4) for seed in SEEDS]
    env.close()
    assert len({len(episode) for episode in expected}) > 3 and {episode.success for episode in expected} == {
        True,
        False,
    }
    return make, expected


def peg_actor(seed):
    from robo_reward.policies.scripted import ScriptedPeg

    return PolicyActor(ScriptedPeg("expert" if seed % 2 else "weak", seed))


@pytest.mark.parametrize("count", [2, 3])
def test_peg_insert_with_views_does_not_depend_on_the_number_of_environments(peg, count):
    make, expected = peg
    with closing(make_vector(make, count)) as env:
        assert_same(list(run_episodes(env, peg_actor, SEEDS, source="peg", query_every=4)), expected)
        assert all(view.shape == (32, 32, 3) for views in env.call("render_views") for view in views.values())


@pytest.mark.slow
def test_lift_with_views_does_not_depend_on_the_number_of_environments():
    pytest.importorskip("robosuite")
    from robo_reward.config import EnvConfig
    from robo_reward.policies.scripted_lift import ScriptedLift
    from robo_reward.runtime.tasks import make_envs

    def run(count):
        config = EnvConfig("robo_reward/Lift-v0", ("agentview", "wrist"), image_size=32, horizon=60, count=count)
        with closing(make_envs(config)) as env:
            return list(run_episodes(env, lambda seed: PolicyActor(ScriptedLift("expert", seed)), SEEDS[:3],
                                     source="lift", query_every=4))  # fmt: skip

    one, two = run(1), run(2)
    assert_same(two, one)
    assert len({len(episode) for episode in one}) > 1


def test_collecting_does_not_depend_on_the_number_of_environments():
    """Demonstrations, where a failed attempt is followed by another, and a split of one success to two failures."""
    pytest.importorskip("mujoco")
    collecting = pytest.importorskip("robo_reward.runtime.collecting")
    from robo_reward.runtime.tasks import make_envs

    def collect(count):
        config = load_config(["env.horizon=60", "env.image_size=16", f"env.count={count}"])
        with closing(make_envs(config.env)) as env:
            return [
                episode
                for split, numbers in (("demos", range(2, 5)), ("test", range(3)))
                for episode in collecting._split_episodes(config, env, split, numbers)
            ]

    one, several = collect(1), collect(2)
    assert_same(several, one)
    assert any(episode.seed % 100 for episode in one[:3]), "no demonstration was attempted twice: choose others"
    assert [(e.source, e.success) for e in one[3:]] == [("expert", True), ("weak", False), ("weak", False)]


def test_a_process_that_died_is_told_in_one_line():
    from robo_reward.cli import explain

    with closing(make_vector(make_toy, 2)) as env, pytest.raises(ChildProcessError) as told:
        env.processes[1].kill()
        list(run_episodes(env, ToyActor, SEEDS, source="toy"))
    assert (explain(told.value) or "").startswith("an environment's process died")


# ---- settings ----


def test_the_stages_of_recorded_and_evaluated_episodes_do_not_depend_on_it(monkeypatch, tmp_path):
    """Training does: how often the policy changes between two of its episodes follows from how many run at once."""
    steps = pytest.importorskip("robo_reward.runtime.steps")
    from robo_reward.runtime import collecting, kept
    from robo_reward.runtime.evaluating import evaluate_stage
    from robo_reward.runtime.stages import StageResult, stage_digest

    def digest(root, name, key, inputs, build, **_):
        return StageResult(name, tmp_path, stage_digest(name, 1, key, inputs), {}, 0.0, False)

    monkeypatch.setattr(kept, "run_stage", digest)

    def digests(*overrides):
        config = load_config(overrides)
        data = collecting.collect_stage(config)
        reward, base = steps.reward_stage(config, data), steps.base_stage(config, data)
        trained = steps.residual_stage(config, data, reward, base, lambda *a, **k: None)
        # given the same training: its own digest is an input here
        fixed = StageResult("train", tmp_path, "0", {}, 0.0, False)
        stages = [data, reward, base, evaluate_stage(config, data, reward, base, fixed)]
        return [stage.digest for stage in stages], trained.digest

    (fixed, trained), (other_fixed, other_trained) = digests(), digests("env.count=4")
    assert other_fixed == fixed and other_trained != trained
    changed = digests("env.horizon=100")[0]
    assert all(a != b for a, b in zip(changed, fixed, strict=True))
