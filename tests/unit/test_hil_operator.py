"""The simulated operator: when it takes over, how long it drives, what it knows, and what a session reports of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from robo_reward.config import HilConfig
from robo_reward.hil.arbitration import Arbiter, HumanInput
from robo_reward.hil.corrected import CorrectedActor
from robo_reward.hil.operator import SimulatedOperator
from robo_reward.hil.session import summarise_session
from robo_reward.testing.episodes import make_episode

FPS = 10
SEEN = (np.zeros(1, np.float32), np.zeros(1, np.float32))
SURE = HilConfig(kind="simulated", patience_s=0.5, late_s=100, reaction_s=0.2, gain=0.3, noise=0.0)


class Constant:
    """Always the same action; counts its episodes."""

    policy_id = "constant"

    def __init__(self, value):
        self.value, self.begun = value, 0

    def initial_state(self, batch):
        self.begun += 1
        return [None] * batch

    def act(self, agent_pos_BP, estimate_BE, state):
        return np.full((len(state), 2), self.value, np.float32), state


def operator(settings=SURE, seed=0, budget=1000):
    rng = np.random.default_rng(seed)
    return SimulatedOperator(settings, Constant(0.5), Constant(-0.5), rng, fps=FPS, size=2, budget=budget)


def held(watcher, progress, force=None, gated=()):
    """At which steps it drives, for this progress (and contact force) of every step, the gate cutting those given."""
    found = []
    for step, value in enumerate(progress):
        told = {"contact_force": 0.0 if force is None else force[step], "gated": step in gated}
        watcher.watch({"progress_oracle": value, **told})
        found.append(watcher.read(*SEEN).held)
    return found


def test_it_takes_over_a_reaction_time_after_the_progress_stalled_and_gives_back_after_the_gain():
    progress = [0.0, 0.1, 0.2, *[0.2] * 7, 0.3, 0.4, 0.51, 0.51, 0.51]
    found = held(operator(), progress)
    assert found == [step in range(9, 12) for step in range(15)]  # stalled from step 2: seen at 7, hand on at 9


def test_losing_ground_is_no_progress():
    assert held(operator(), [0.5, *np.linspace(0.1, 0.3, 8)])[-2:] == [True, True]


def test_it_takes_over_when_it_is_late_or_the_force_is_high():
    progress = np.linspace(0, 0.4, 20)
    assert not any(held(operator(), progress))
    assert held(operator(replace(SURE, late_s=1.0)), progress).index(True) == 12
    force = np.zeros(20)
    force[4] = 60.0
    assert held(operator(), progress, force).index(True) == 6


def test_it_takes_over_when_the_gate_cuts_several_steps_in_a_row():
    progress, cut = np.linspace(0, 0.4, 20), {3, 4, 6, 7, 8}
    assert not any(held(operator(), progress, gated=cut))
    assert held(operator(replace(SURE, gated_steps=3)), progress, gated=cut).index(True) == 10


def test_a_spent_budget_and_an_episode_without_attention_leave_the_policy_alone():
    stuck = [0.2] * 30
    assert sum(held(operator(budget=4), stuck)) == 4
    assert not any(held(operator(budget=0), stuck)) and not any(held(operator(budget=-3), stuck))
    assert not any(held(operator(replace(SURE, attention=0.0)), stuck))


def test_skill_is_the_share_of_episodes_in_which_it_drives_as_the_expert_does():
    def drives(seed):
        watcher = operator(replace(SURE, skill=0.7), seed)
        for _ in range(10):
            watcher.watch({"progress_oracle": 0.0})
        return watcher.read(*SEEN).action[0]

    found = np.array([drives(seed) for seed in range(300)])
    assert set(found) == {0.5, -0.5} and 0.62 < (found == 0.5).mean() < 0.78


class Planner:
    """A policy whose plan is a counter."""

    base_id = "planner"

    def __init__(self):
        self.plan = 0

    def __call__(self, agent_pos, estimate):
        self.plan += 1
        return np.full(2, 0.1, np.float32), np.full(2, self.plan, np.float32)

    def flush(self):
        self.plan = 0


def test_the_policy_is_asked_throughout_and_plans_anew_at_the_hand_back():
    watcher = operator()
    actor = CorrectedActor(Planner(), watcher, Arbiter(2, blend_steps=1, clock=lambda: watcher.time_s))
    bases, humans, actions = [], [], []
    for value in [0.2] * 10 + [0.6] * 3:
        actor.watch({"progress_oracle": value})
        action, base = actor(*SEEN)
        bases.append(int(base[0]))
        humans.append(actor.human_action is not None)
        actions.append(float(action[0]))
    assert bases == [*range(1, 11), 1, 2, 3]
    assert humans == [step in range(7, 10) for step in range(13)]
    assert actions == pytest.approx([0.5 if human else 0.1 for human in humans])


def test_the_policy_plans_anew_after_a_pause():
    class Lost:
        inputs = [HumanInput(np.zeros(2), False, 0.0), HumanInput(np.zeros(2), True, 0.0), None, None]

        def watch(self, info):
            pass

        def read(self, agent_pos, estimate):
            return self.inputs.pop(0)

    arbiter = Arbiter(2, clock=lambda: 0.0)
    actor = CorrectedActor(Planner(), Lost(), arbiter)
    plans = []
    for step in range(4):
        if step == 3:
            arbiter.resume()
        plans.append((actor(*SEEN)[1][0], actor.decision.source))
    assert plans == [(1, "policy"), (2, "human"), (1, "pause"), (1, "policy")]


def corrected_episode(steps, driven, success, away=0.3):
    mask = np.isin(np.arange(steps), driven)
    base = np.zeros((steps + 1, 2), np.float32)
    action = np.where(mask[:, None], np.float32(away), np.float32(0.1)) * np.ones((1, 2), np.float32)
    return make_episode(
        steps, success=success, instruction="go", action=action, base_action=base, human_action=action,
        intervention=mask,
    )  # fmt: skip


def test_a_session_is_summed_up():
    episodes = [
        corrected_episode(20, range(10), True),
        corrected_episode(40, range(2), False, away=0.5),
        corrected_episode(10, [], True),
        replace(corrected_episode(10, [], True), intervention=None),  # nobody attended
    ]
    assert summarise_session(episodes, FPS, reach=0.4, last=1) == pytest.approx(
        {
            "hil_episodes": 3,
            "hil_success": 2 / 3,
            "hil_cycle_s": 1.5,
            "hil_corrected_share": 2 / 3,
            "hil_intervention_rate": (0.5 + 0.05) / 3,
            "hil_intervention_rate_last": 0.0,
            "hil_operator_minutes": 12 / FPS / 60,
            "hil_out_of_reach_share": 2 / 12,
        }
    )
    assert set(summarise_session([], FPS, reach=0.4).values()) == {0, None}
