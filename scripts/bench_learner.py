"""Updates a second of the learner at equal networks and batches, beside other learners and the limit of the products.

    python scripts/bench_learner.py [--quick] [--threads 1 2] [--repeats 25]
    python scripts/bench_learner.py --device cuda        # has not been run on a GPU by us

Writes docs/results/learner_speed.json. Learners that cannot be imported are passed over, with a line that says so
(`pip install stable-baselines3 torchrl lerobot`). All take turns in one process, so that a busy machine strikes all of
them; each figure is a median. One thread is measured in processor time, several by the clock. With --device only ours
are measured there, the default one and the one that sees pixels, a GPU by the clock: learner_speed_DEVICE.json.

The limit is what batched products of 256 x 256 x 256 reach in the same run, in single precision. `share_of_limit` is
the time that an update's products would take at that speed, divided by the time that the update takes. The rows with
`_bfloat16` are ours with `agent.precision=bfloat16`, beside the peers in single precision; those with `_of_2` ours with
two of ten heads in the target, as is the default, and two that move the actor (one where the peer's actor has one).
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from learner_peers import ACTION, ALIKE, OBSERVATION, PEERS, ROWS, UPDATES

from robo_reward.config import AgentConfig
from robo_reward.learning.pixels import Eyes
from robo_reward.learning.replay import EpisodeReplay
from robo_reward.learning.residual_td3 import ResidualTD3
from robo_reward.runtime.run_folder import made_on
from robo_reward.runtime.updates import learn
from robo_reward.shaping import SCHEMES
from robo_reward.types import Episode, PhiTrack

RESULT = Path(__file__).parents[1] / "docs" / "results" / "learner_speed.json"
SIZES = (10_000, 100_000, 1_000_000)
EPISODE = 1000
EYES = Eyes(("front", "side", "wrist"), 84)
NETWORKS = {"2x256": (2, 256, 256), "10heads": (10, 256, 256)}
"""Heads, width of two hidden layers, batch."""


def filled(rows: int, settings: AgentConfig, eyes: Eyes | None = None) -> EpisodeReplay:
    """A replay of this many transitions with the default experiment's sizes; its episodes look alike."""
    rng, phase = np.random.default_rng(0), 8
    state = OBSERVATION - phase
    replay = EpisodeReplay(rows + 2 * rows // EPISODE, state, ACTION, settings.n_step, settings.gamma, phase_size=phase)
    normal, zeros = rng.normal(size=(EPISODE + 1, state)).astype(np.float32), np.zeros(EPISODE + 1, np.float32)
    action = np.tanh(normal[:, :ACTION])
    episode = Episode(
        episode_id="e", instruction="", source="policy", seed=0, agent_pos=normal, estimate=normal[:, :0],
        action=action[:-1], reward=zeros[:-1], stage=zeros.astype(np.int64), oracle=zeros, terminated=True,
        truncated=False, success=True, frame_steps=np.zeros(0, np.int64), frames={}, base_action=action,
        base_phase=normal[:, :phase],
    )  # fmt: skip
    frames = None
    if eyes is not None:
        frames = rng.integers(0, 256, (EPISODE + 1, len(eyes.views), eyes.size, eyes.size, 3), dtype=np.uint8)
    for _ in range(rows // EPISODE):
        replay.append(episode, normal, PhiTrack("none", zeros, zeros), demonstration=False, frames_TVHWC=frames)
    return replay


def ours(settings: AgentConfig, rows: int = ROWS, eyes: Eyes | None = None) -> Callable[[], None]:
    """`UPDATES` updates of the residual learner, sampling and logged numbers included."""
    demonstrations, online = filled(ROWS, settings, eyes), filled(rows, settings, eyes)
    zeros = np.zeros(OBSERVATION - 8, np.float32)
    agent = ResidualTD3(zeros, zeros + 1, ACTION, settings, SCHEMES["potential"], 1.0, 0, phase_size=8, eyes=eyes)
    experience: Any = SimpleNamespace(demonstrations=demonstrations, warmup=online, online=online)
    rng = np.random.default_rng(0)
    return lambda: (learn(agent, experience, UPDATES, settings, rng), None)[1]


def products(settings: AgentConfig) -> float:
    """Floating-point operations that matrix products make up of one update of ours, on average."""
    heads, hidden, rows = settings.heads, settings.hidden, 2 * settings.batch
    first, middle = (OBSERVATION + ACTION) * hidden, hidden * hidden
    actor, critic = first + middle + hidden * ACTION, first + middle + hidden
    target = actor + settings.subset * critic
    critics = heads * (critic + critic + middle + hidden)  # forward, by weights, by activations
    uphill = critic + hidden + middle + hidden * ACTION
    actors = actor + actor + middle + hidden * ACTION + (settings.actor_subset or heads) * uphill
    return rows * (target + critics + actors / settings.actor_every)


def limit() -> Callable[[], None]:
    """A batch of eight products, 256 cubed."""
    first, second, out = torch.randn(8, 256, 256), torch.randn(8, 256, 256), torch.empty(8, 256, 256)
    return lambda: (torch.bmm(first, second, out=out), None)[1]


def contenders(quick: bool) -> tuple[dict[str, Callable[[], None]], dict[str, AgentConfig], list[str]]:
    """Everything that is timed, the settings of those that are ours, and the peers that were passed over."""
    made: dict[str, Callable[[], None]] = {"limit": limit()}
    settings: dict[str, AgentConfig] = {}
    for name, (heads, hidden, batch) in NETWORKS.items():
        equal = AgentConfig(heads=heads, subset=heads, hidden=hidden, batch=batch)
        for words, changes in ALIKE.items():
            settings[f"{name}{words}"] = alike = replace(equal, **changes)
            if heads > 2:
                settings[f"{name}{words}_of_2"] = replace(alike, subset=2, actor_subset=alike.actor_subset or 2)
    settings |= {f"{name}_bfloat16": replace(alike, precision="bfloat16") for name, alike in settings.items()}
    settings["default"] = default = AgentConfig()
    made |= {f"ours_{name}": ours(chosen) for name, chosen in settings.items()}
    if not quick:
        made |= {f"ours_replay_{size}": ours(settings["2x256"], size) for size in SIZES}
    missing = []
    for peer, (load, _) in PEERS.items():
        try:
            build = load()
        except ImportError as error:
            print(f"{peer} is passed over: {error}")
            missing.append(peer)
            continue
        for name, network in NETWORKS.items():
            made[f"{peer}_{name}"] = build(*network)
    made["plain_td3_default"] = PEERS["plain_td3"][0]()(default.heads, default.hidden, default.batch)
    return made, settings, missing


def on_device(device: str, threads: int, repeats: int) -> dict[str, float]:
    """Updates a second of our default learner on a device, and of the one that sees pixels."""
    settings = AgentConfig(device=device)
    made = {"default": ours(settings), "pixels_3x84": ours(settings, eyes=EYES)}
    seconds = measure(made, threads, repeats, by_clock=device != "cpu")
    return {f"updates_per_s_{name}": UPDATES / seconds[name] for name in made}


def measure(
    made: dict[str, Callable[[], None]], threads: int, repeats: int, by_clock: bool = False
) -> dict[str, float]:
    """Median seconds of each, all in turn."""
    torch.set_num_threads(threads)
    clock = time.perf_counter if by_clock or threads > 1 else time.process_time
    times: dict[str, list[float]] = {name: [] for name in made}
    for _ in range(repeats):
        for name, run in made.items():
            run()  # fills the caches anew after the others
            started = clock()
            run()
            times[name].append(clock() - started)
    return {name: float(np.median(seconds)) for name, seconds in times.items()}


def figures(seconds: dict[str, float], settings: dict[str, AgentConfig]) -> dict[str, float]:
    """Rates, ratios and shares from the medians."""
    gflops = 8 * 2 * 256**3 / seconds["limit"] / 1e9
    found = {"limit_gflops": gflops}
    for name, chosen in settings.items():
        found[f"updates_per_s_{name}"] = UPDATES / seconds[f"ours_{name}"]
        found[f"share_of_limit_{name}"] = UPDATES * products(chosen) / gflops / 1e9 / seconds[f"ours_{name}"]
    found["share_of_limit"] = found["share_of_limit_2x256"]
    for peer, (_, words) in PEERS.items():
        for network in NETWORKS:
            if (theirs := seconds.get(f"{peer}_{network}")) is not None:
                found[f"updates_per_s_{peer}_{network}"] = UPDATES / theirs
                for change in ("", "_bfloat16", "_of_2", "_of_2_bfloat16"):
                    if (own := seconds.get(f"ours_{network}{words}{change}")) is not None:
                        found[f"ratio_{peer}_{network}{change}"] = theirs / own
    found["ratio_plain_td3_default"] = seconds["plain_td3_default"] / seconds["ours_default"]
    if f"ours_replay_{SIZES[0]}" in seconds:
        for size in SIZES:
            found[f"updates_per_s_replay_{size}"] = UPDATES / seconds[f"ours_replay_{size}"]
        found["replay_1m_to_10k_ratio"] = seconds[f"ours_replay_{SIZES[-1]}"] / seconds[f"ours_replay_{SIZES[0]}"]
    return found


def table(found: dict[str, Any]) -> dict[str, dict[str, float | None]]:
    """The ratios to every peer, then our own share of the limit and rate, by networks and products."""
    columns = {"2 critics": "2x256", "10 critics": "10heads", "two of 10 drawn": "10heads_of_2"}
    columns |= {f"{name}, bfloat16": f"{key}_bfloat16" for name, key in columns.items()}
    rows = {peer.replace("_", " "): f"ratio_{peer}_" for peer in PEERS}
    rows |= {"ours: share of the limit": "share_of_limit_", "ours: updates a second": "updates_per_s_"}
    made = {row: {name: found.get(stem + key) for name, key in columns.items()} for row, stem in rows.items()}
    return {row: cells for row, cells in made.items() if any(cells.values())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="three turns, and nothing is written")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="of the products, one after the other")
    parser.add_argument("--repeats", type=int, default=25, help="turns that each median is of")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="ours on this device alone, pixels too")
    args = parser.parse_args()
    repeats = 3 if args.quick else args.repeats
    made, settings, missing = ({}, {}, []) if args.device else contenders(args.quick)
    result: dict[str, float] = {}
    for threads in args.threads:
        suffix = "" if threads == 1 else f"_{threads}_threads"
        if args.device:
            found = on_device(args.device, threads, repeats)
        else:
            found = figures(measure(made, threads, repeats), settings)
        result |= {name + suffix: round(value, 4) for name, value in found.items()}
    about: dict[str, Any] = {} if args.device else {"table": table(result)}
    about |= {"missing": missing, "command": shlex.join(["python", *sys.argv]), "turns": args.repeats,
               **made_on(), "load_average": round(os.getloadavg()[2], 1)}  # fmt: skip
    text = json.dumps({**result, **about}, indent=1)
    print(text)
    if not args.quick:
        (RESULT.with_stem(f"{RESULT.stem}_{args.device}") if args.device else RESULT).write_text(text + "\n")


if __name__ == "__main__":
    main()
