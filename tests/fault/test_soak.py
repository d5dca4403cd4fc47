"""Row E1: the simulated arm at work for long, with faults: memory flat, the bridge's deadlines kept.

ROBO_REWARD_SOAK_MIN=MINUTES says for how long; half a minute otherwise, ten in the nightly tier. Memory and deadlines
are judged from five minutes on: before, what a process takes once and what else the machine did is all there is to see.
"""

import json
import os
import random
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cyclonedds")
pytest.importorskip("mujoco")

from robo_reward.hardware.bridge import open_transport
from robo_reward.hardware.messages import String
from robo_reward.hardware.robot_config import load_robot
from robo_reward.hardware.robot_env import open_robot_env
from robo_reward.hardware.transport import LATCHED
from robo_reward.policies.scripted import ScriptedPeg
from robo_reward.testing.faults import fault_tier, record_fault

pytestmark = [pytest.mark.fault, pytest.mark.timeout(8 * 24 * 3600)]
MINUTES = float(os.environ.get("ROBO_REWARD_SOAK_MIN") or (0.5 if fault_tier() == "pull_request" else 10))
JUDGED_MIN, WARM_S = 5.0, 90.0
GROWTH_PER_H, MISSES = 0.01, 0.001
BUFFERS_KB = 3_000
"""What a process may grow by once. The DDS library takes two receive buffers of 1 MB and fills them for the first time
so slowly that it takes an hour: with 400 times the announcements of participants, its processes grew by 2.0 MB in two
minutes and by nothing in the two after."""
FAULTS = [
    {"state_gone": True}, {"state_lag_s": 0.3}, {"drop": 0.5}, {"pose_jump": 0.05}, {"nan_joints": True},
    {"reflex": True}, *({"camera": "front", "camera_mode": mode} for mode in ("freeze", "black", "late", "gone")),
]  # fmt: skip


def memory_kb(pid):
    """What a process has allocated [kB]. Pages of files are left out: whether they are its own or shared, and whether
    they are in memory at all, depends on who else runs."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def growth_per_h(samples):
    """Share by which memory grows in an hour: Theil and Sen's slope of (time [s], kB), which jumps do not tilt."""
    times, sizes = np.array(samples, float).T
    first, second = np.triu_indices(len(times), 1)
    slope = np.median((sizes[second] - sizes[first]) / (times[second] - times[first]))
    return float(3600 * slope / np.median(sizes))


def leaks(samples):
    """Whether a process grew by more than its buffers and the share an hour that is allowed."""
    (begun, before), (ended, after) = samples[0], samples[-1]
    return after - before > BUFFERS_KB + GROWTH_PER_H * before * (ended - begun) / 3600


class Soak:
    """The arm, its bridge and an expert that inserts pegs, again and again."""

    def __init__(self):
        config, limits = load_robot("sim_arm")
        cameras = {"front": config.cameras["front"]}
        self.config = replace(config, cameras=cameras, camera_hz=5.0, domain=1 + (os.getpid() + 61) % 100)
        self.env = open_robot_env(self.config, limits, horizon=120, image_size=84)
        self.rng, self.wire = random.Random(0), open_transport(self.config)
        self.tell = self.wire.advertise("sim_arm/fault", String, LATCHED)
        self.faults, self.episodes, self.seed, self.mend_at, self.next_fault = 0, 0, 0, 0.0, 0.0
        arm = next(p for p in Path("/proc").glob("[0-9]*") if self._is_our_arm(p))
        self.pids = {"actor": os.getpid(), "bridge": self.env._robot._process.pid, "arm": int(arm.name)}

    @staticmethod
    def _is_our_arm(process):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            return b"robo_reward.hardware.sim_arm" in words and f"parent={os.getpid()}".encode() in words
        except OSError:
            return False

    def stir(self):
        """Break something every ten seconds or so, and mend it soon."""
        now = time.monotonic()
        if self.mend_at and now > self.mend_at:
            self.tell(String(data="{}"))
            self.mend_at, self.next_fault = 0.0, now + self.rng.uniform(5, 12)
        elif not self.mend_at and now > self.next_fault:
            self.tell(String(data=json.dumps(self.rng.choice(FAULTS))))
            self.mend_at, self.faults = now + self.rng.uniform(0.3, 2.0), self.faults + 1

    def run(self, until, each=lambda: None):
        """Episodes until then; a person would mend what the environment gives up on, here `stir` does."""
        while time.monotonic() < until:
            try:
                self.seed += 1
                self.stir()
                observation, _ = self.env.reset(seed=self.seed)
                policy = ScriptedPeg("expert", self.seed)
                state, over = policy.initial_state(1), False
                while not over and time.monotonic() < until:
                    self.stir()
                    action, state = policy.act(observation["agent_pos"][None], observation["estimate"][None], state)
                    observation, _, terminated, truncated, _ = self.env.step(action[0])
                    over = terminated or truncated
                    each()
                self.episodes += 1
            except ValueError:
                time.sleep(0.2)

    def overruns(self):
        return self.env._robot.status().overruns

    def close(self):
        self.tell(String(data="{}"))
        self.wire.close()
        self.env.close()


def test_memory_is_flat_and_deadlines_are_kept_for_long():
    soak, samples = Soak(), {}
    try:
        begun = time.monotonic()
        sampled = [begun + (WARM_S if MINUTES >= JUDGED_MIN else 0.0)]

        def sample():
            if (now := time.monotonic()) > sampled[-1] + 2.0:
                sampled.append(now)
                for name, pid in soak.pids.items():
                    samples.setdefault(name, []).append((now, memory_kb(pid)))

        soak.run(begun + 60 * MINUTES, sample)
        seconds, rate = time.monotonic() - begun, soak.env._robot.limits.rate_hz
        missed, faults, episodes = soak.overruns() / (seconds * rate), soak.faults, soak.episodes
        before, began = soak.overruns(), time.monotonic()  # the control: a bridge that is held up now and then

        def hold_up():
            os.kill(soak.pids["bridge"], signal.SIGSTOP)
            time.sleep(0.05)
            os.kill(soak.pids["bridge"], signal.SIGCONT)

        soak.run(began + 5, hold_up)
        control = (soak.overruns() - before) / ((time.monotonic() - began) * rate)
    finally:
        soak.close()
    broken = [] if episodes else ["no episode ended"]
    broken += [f"{missed:.3%} of the bridge's deadlines were missed"] * (MINUTES >= JUDGED_MIN and missed >= MISSES)
    grown = {name: growth_per_h(found) for name, found in samples.items()} if MINUTES >= JUDGED_MIN else {}
    broken += [f"the {name} grows by {growth:.1%} an hour" for name, growth in grown.items() if leaks(samples[name])]
    ends = {name: found[-1][1] - found[0][1] for name, found in samples.items()}
    told = ", ".join(f"{name} {growth:+.2%} an hour ({ends[name]:+d} kB)" for name, growth in grown.items())
    what = (
        f"{MINUTES:g} min of the simulated arm with faults ({episodes} episodes; a week is asked for): deadlines "
        f"missed {missed:.3%}, memory: {told or 'too short to tell'}; {os.getloadavg()[1] / (os.cpu_count() or 1):.1f} "
        "processes wanted each core; control: a bridge that is held up"
    )
    record_fault("E1", what, injected=faults, broken=broken, control_failed=int(control >= MISSES))
