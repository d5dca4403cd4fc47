"""What runtime=local, async and ray do per second, how evenly an actor steps beside a busy learner, bytes on the wire.

    python scripts/bench_runtime.py [--rollouts 12] [--hz 50] [--ray] [--to docs/results/runtime.json]

Writes the figures and the table of docs/runtime.md that follows from them. The world is PegInsert without cameras, the
agent the default one, nothing is evaluated; process starts are not counted. Jitter is how late an actor that is paced
at `--hz` takes its next action. On a machine that does other work the tails measure that work: the load is part of the
output.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from robo_reward import __version__
from robo_reward.config import AgentConfig, Config
from robo_reward.data.episode_records import encode_episode
from robo_reward.runtime.intake import Intake
from robo_reward.runtime.link import Client, Server
from robo_reward.runtime.local import Taught, open_learner
from robo_reward.runtime.messages import PART_BYTES, Join, Receipt, Records, Welcome, records_crc
from robo_reward.runtime.role_log import RoleLog
from robo_reward.runtime.run_folder import made_on
from robo_reward.runtime.supervisor import supervise
from robo_reward.runtime.tasks import first_seed
from robo_reward.testing.forks import Forks
from robo_reward.testing.small_run import learn_locally, learn_small, small_config, small_school

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
PAGE = ROOT / "docs" / "runtime.md"
BLOCK = re.compile(r"(<!-- arithmetic -->\n).*?(<!-- /arithmetic -->)", re.DOTALL)
RATE_HZ = 20.0
"""Of a robot that the table reckons with."""
PACED = """
import json, os, time
from pathlib import Path
import gymnasium
from robo_reward.runtime import actor
from robo_reward.testing.small_run import small_config

class Paced(gymnasium.Wrapper):
    next_s = None
    def reset(self, **options):
        self.next_s = None
        return self.env.reset(**options)

    def step(self, action):
        now = time.monotonic()
        if self.next_s is not None:
            if now < self.next_s:
                time.sleep(self.next_s - now)
            os.write(late, (f"{time.monotonic() - self.next_s}\\n").encode())
        self.next_s = (self.next_s if self.next_s is not None else now) + period_s
        return self.env.step(action)

def work(folder, address, hz):
    global late, period_s
    period_s, late = 1 / hz, os.open(Path(folder) / "late", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    opened = actor.open_world
    actor.open_world = lambda *arguments: Paced(opened(*arguments))
    actor.run_actor(small_config(Path(folder)), address, 0, "")
"""


LEARNER = """
import threading
from pathlib import Path
from robo_reward.runtime.local import Learner
from robo_reward.runtime.role_log import RoleLog
import sys
sys.path.insert(0, SCRIPTS)
from bench_runtime import bench_config
from robo_reward.testing.small_run import learn_small

def work(folder, address, what):
    import torch
    torch.set_num_threads(1)
    config, learn = bench_config(Path(folder), 10**6, ahead=10**6), Learner.learn
    told = RoleLog(Path(config.run.dir), "learner", "bench")

    def busy(self, *arguments):
        told.tell("busy")
        while what == "saving":
            self.checkpoint.save()
        if what == "idle":
            threading.Event().wait()
        learn(self, *arguments)

    Learner.learn = busy
    learn_small(config, Path(folder), address=address, token="", ready=lambda at: None, log=lambda *_, **n: None)
""".replace("SCRIPTS", repr(str(Path(__file__).parent)))


def bench_config(folder: Path, rollouts: int, **runtime: Any) -> Config:
    """The default agent on the default world, without evaluations."""
    config = small_config(folder, rollouts=rollouts, horizon=120, evaluate_every=10**6, **runtime)
    return replace(config, agent=AgentConfig(), train=replace(config.train, warmup_rollouts=1, warmup_updates=1))


def rates(mode: str, rollouts: int, actors: int) -> dict[str, float]:
    """Environment steps and updates a second, from the first rollout learned from to the last."""
    with tempfile.TemporaryDirectory() as name:
        folder, rows = Path(name), []
        config = bench_config(folder, rollouts, actors=actors)

        def log(step: int, **_: Any) -> None:
            rows.append((time.monotonic(), step))

        if mode == "local":
            learn_locally(config, small_school(config, folder), folder / "stage", log)
        elif mode == "async":
            supervise(config, partial(learn_small, config, folder), log)
        else:
            from robo_reward.runtime.ray_roles import launch

            launch(config, partial(learn_small, config, folder), log)
        wall_s, steps = rows[-1][0] - rows[0][0], rows[-1][1] - rows[0][1]
    name = mode if mode == "local" else f"{mode}_{actors}_actor{'s' * (actors > 1)}"
    updates = steps * config.agent.updates_per_step
    return {f"{name}_env_steps_per_s": steps / wall_s, f"{name}_updates_per_s": updates / wall_s}


def jitter(what: str, seconds: float, hz: float) -> dict[str, float]:
    """How late a paced actor's steps are while the learner does nothing, learns, saves, or is dead."""
    with tempfile.TemporaryDirectory() as name:
        folder, address = Path(name), f"127.0.0.1:{free_port()}"
        learners, actors = Forks(LEARNER), Forks(PACED)
        learner, acting = learners.start(name, address, what), actors.start(name, address, hz)
        log, late = folder / "run" / "logs" / "learner.jsonl", folder / "late"
        # Its first rollout is there: from now on it does what is asked for.
        wait_for(lambda: log.exists() and '"busy"' in log.read_text())
        if what == "dead":
            learners.kill(learner)
        before = late.stat().st_size
        time.sleep(seconds)
        lines = late.read_bytes()[before:].decode().splitlines()[1:-1]
        actors.kill(acting)
        learners.kill(learner)
        actors.close()
        learners.close()
    late_ms = 1e3 * np.array([float(line) for line in lines])
    p50, p99 = np.percentile(late_ms, [50, 99])
    return {f"late_{what}_p50_ms": p50, f"late_{what}_p99_ms": p99, f"late_{what}_max_ms": late_ms.max()}


def ingest(rollouts: int) -> dict[str, float]:
    """Transitions a second from one client through link and checks onto the disk, and the bytes of one."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = bench_config(folder, rollouts)
        school = small_school(config, folder)
        s, session, steps = school, "ab" * 8, 0
        opened = open_learner(config, s.base, s.demonstrations, s.annotate, s.load_annotate, folder / "stage", print)
        with opened as learner:
            desk = Intake(config, learner, folder / "stage", s.files, RoleLog(folder, "learner", "bench"))
            server = Server("127.0.0.1:0", desk.methods, "", print)
            client = Client(server.address, "")
            next_, taken, sent = client.call("Join", Join(__version__, 0, session), Welcome, 10).next, 0.0, 0
            for number in range(rollouts):
                records = encode_episode(as_rollout(school, first_seed(0, "online") + number))
                begun = time.monotonic()
                for batch in parts(records):
                    kinds, payloads = tuple(kind for kind, _ in batch), tuple(payload for _, payload in batch)
                    message = Records(0, session, next_, kinds, payloads, records_crc(kinds, payloads))
                    next_ = client.call("Send", message, Receipt, 10).next
                    sent += sum(map(len, payloads))
                taken += time.monotonic() - begun
                steps += len(s.demonstrations[0])
            client.close()
            server.close()
            weights = len(desk._weights.data)
    return {"ingest_transitions_per_s": steps / taken, "bytes_per_transition": sent / steps, "bytes_weights": weights}


def as_rollout(school: Taught, seed: int) -> Any:
    """A demonstration as if an actor had played it."""
    demonstration = school.demonstrations[0]
    rows = len(demonstration) + 1
    phase = school.base.phase(school.base.initial_state(1)).shape[1]
    return replace(
        demonstration, seed=seed, episode_id=f"policy-{seed}", source="policy", base_id=school.base.policy_id,
        base_action=np.zeros((rows, 4), np.float32), base_phase=np.zeros((rows, phase), np.float32),
    )  # fmt: skip


def parts(records: list[tuple[int, bytes]]) -> list[list[tuple[int, bytes]]]:
    """As the actor would send them when it is behind."""
    found: list[list[tuple[int, bytes]]] = [[]]
    size = 0
    for record in records:
        size += len(record[1])
        if size > PART_BYTES and found[-1]:
            found.append([])
            size = len(record[1])
        found[-1].append(record)
    return found


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def wait_for(reached: Callable[[], bool]) -> None:
    until = time.monotonic() + 300
    while not reached():
        if time.monotonic() > until:
            raise SystemExit("the learner never began: look above")
        time.sleep(0.05)


def arithmetic(figures: dict[str, Any]) -> str:
    """Where what saturates, as the table of docs/runtime.md."""
    store, learner = (json.loads((RESULTS / f"{name}.json").read_text()) for name in ("store", "learner_speed"))
    framed = store["bytes_per_transition_with_noisy_frames"]
    limits = {
        "link and checks, one learner": (figures["ingest_transitions_per_s"], "runtime.json"),
        "store, whole episodes": (store["append_whole_episodes_transitions_per_s"], "store.json"),
        "potentials of the compact reward model": (store["reannotation_transitions_per_s"], "store.json"),
        "learner at 4 updates a transition": (learner["updates_per_s_default"] / 4, "learner_speed.json"),
        "learner at 1 update a transition": (learner["updates_per_s_default"], "learner_speed.json"),
        "a network of 1 Gbit/s, three views every 4 steps": (125e6 / framed, "store.json"),
    }
    lines = [
        f"An actor at {RATE_HZ:g} Hz makes {RATE_HZ:g} transitions a second: "
        f"{RATE_HZ * figures['bytes_per_transition'] / 1e3:.1f} kB/s without pictures, "
        f"{RATE_HZ * framed / 1e3:.0f} kB/s with three views every 4 steps, and fetches "
        f"{figures['bytes_weights'] / 1e6:.1f} MB of weights after every rollout that was learned from.",
        "",
        "| part | transitions a second | saturates at | 10 actors | 100 | 1,000 | from |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for what, (limit, source) in limits.items():
        loads = " | ".join(f"{100 * count * RATE_HZ / limit:,.0f} %" for count in (10, 100, 1000))
        lines.append(f"| {what} | {limit:,.0f} | {limit / RATE_HZ:,.0f} actors | {loads} | {source} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rollouts", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--hz", type=float, default=50.0)
    parser.add_argument("--ray", action="store_true", help="measure runtime=ray too")
    parser.add_argument("--to", type=Path, help="write the figures here, and the table of docs/runtime.md")
    options = parser.parse_args()
    figures: dict[str, Any] = {}
    cases = [("local", 1), ("async", 1), ("async", 2)] + [("ray", 1), ("ray", 2)] * options.ray
    for mode, actors in cases:
        figures |= rates(mode, options.rollouts, actors)
        print(json.dumps(figures), flush=True)
    for what in ("idle", "learning", "saving", "dead"):
        figures |= jitter(what, options.seconds, options.hz)
        print(json.dumps(figures), flush=True)
    figures |= ingest(options.rollouts)
    figures = {name: round(float(value), 3) for name, value in figures.items()}
    figures |= {"hz": options.hz, "load": round(os.getloadavg()[0], 2), "command": " ".join(["python", *sys.argv]),
                **made_on()}  # fmt: skip
    print(json.dumps(figures, indent=1))
    if options.to is not None:
        options.to.write_text(json.dumps(figures, indent=1) + "\n")
        text = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(BLOCK.sub(lambda found: found[1] + arithmetic(figures) + found[2], text), encoding="utf-8")


if __name__ == "__main__":
    main()
