"""Cost of the compact reward model: pairs per second, latency of a live query, what the frame cache saves, memory.

    python scripts/bench_reward.py [--quick] [--note "what ran beside it"]

Writes docs/results/reward_speed.json. Weights are untrained, which the speed does not notice; sizes are those of the
default experiment. A live query is what trackers ask at one observation, about three references, their last frames and
their new ones. `uncached` encodes all of them in one batch, `cached` only the new frame of one tracker, which names the
others; for 32 trackers both do the same. They answer in turn, so each finds the processor's caches as the other left
them. `all_known` is a query whose frames are all remembered: what is not encoding. CPU time stands beside wall time,
which a busy machine stretches.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from robo_reward.progress.annotate import track_many
from robo_reward.progress.models.compact import CompactModel
from robo_reward.progress.models.compact_net import CompactNet, CompactSettings
from robo_reward.progress.models.feature_cache import FeatureCache
from robo_reward.progress.references import Reference, References
from robo_reward.progress.tracker import HOPS_PER_REFERENCE, ProgressTracker, TrackerSettings, hop_rows
from robo_reward.runtime.run_folder import made_on
from robo_reward.types import Episode, HopQuery

RESULT = Path(__file__).parents[1] / "docs" / "results" / "reward_speed.json"
VIEWS, SIZE, REFERENCES, EVERY, STEPS = ("front", "side", "wrist"), 84, 3, 4, 100
TASK = "insert the peg into the red socket"


def pictures(count: int, seed: int, views: tuple[str, ...]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {v: rng.integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8) for v in views}


def live_queries(views: tuple[str, ...], trackers: int, count: int) -> Iterator[HopQuery]:
    """The joint question of `trackers` live trackers at `count` observations, every frame a new one."""
    if trackers == 1:
        references = References({TASK: Reference(pictures(REFERENCES, 1, views), pictures(REFERENCES, 2, views))})
        tracker = ProgressTracker(references, TASK, TrackerSettings(every=1))
        for number in range(count):
            new = pictures(1, 4 + number, views)
            query = tracker.query({v: f[0] for v, f in new.items()})
            assert query is not None
            yield query
        return
    start, goal = pictures(REFERENCES, 1, views), pictures(REFERENCES, 2, views)
    last = pictures(trackers, 3, views)
    k, at = REFERENCES, np.arange(trackers) + 2 * REFERENCES
    for number in range(count):
        new = pictures(trackers, 4 + number, views)
        rows = hop_rows(k, at, at + trackers)
        pool = {v: np.concatenate([start[v], goal[v], last[v], new[v]]) for v in views}
        yield HopQuery(pool, *rows, (TASK,) * len(rows[0]))
        last = new


def bench_queries(views: tuple[str, ...], trackers: int, count: int) -> dict[str, float]:
    """Latency of one joint query, without and with the cache, and pairs answered per second."""
    torch.manual_seed(0)
    net = CompactNet(CompactSettings(views=views))
    cache = FeatureCache(2 * REFERENCES + 2 * trackers)
    models = {"uncached": CompactModel(net), "cached": CompactModel(net, cache)}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in models}
    queries = live_queries(views, trackers, count + 4)
    for number, query in zip(range(count + 3), queries, strict=False):
        for name, model in models.items():
            seconds = timed(lambda model=model, query=query: model.hop(query))
            if number >= 3:  # the first ones fill the cache and warm up
                times[name].append(seconds)
    stem, found = f"query_{len(views)}_views_batch_{trackers}", {}
    pairs = trackers * REFERENCES * HOPS_PER_REFERENCE
    for name, measured in times.items():
        wall, cpu = np.transpose(measured)
        found[f"{stem}_{name}_p50_ms"] = float(np.percentile(wall, 50) * 1e3)
        found[f"{stem}_{name}_p99_ms"] = float(np.percentile(wall, 99) * 1e3)
        found[f"{stem}_{name}_cpu_p50_ms"] = float(np.percentile(cpu, 50) * 1e3)
        found[f"{stem}_{name}_pairs_per_cpu_s"] = pairs / float(np.median(cpu))
    found[f"{stem}_cached_speedup"] = found[f"{stem}_uncached_cpu_p50_ms"] / found[f"{stem}_cached_cpu_p50_ms"]
    passes: list[int] = []
    last = next(queries)
    for layer in net.views_out.values():
        layer.register_forward_hook(lambda _module, _inputs, out: passes.append(len(out)))
    for name, model in models.items():
        passes.clear()
        model.hop(last)
        found[f"{stem}_{name}_images_encoded"] = sum(passes)
    if trackers == 1:
        known = [timed(lambda: models["cached"].hop(last))[1] for _ in range(count)]
        found[f"{stem}_all_known_cpu_p50_ms"] = float(np.median(known) * 1e3)
    return found


def bench_episodes(views: tuple[str, ...], repeats: int) -> dict[str, float]:
    """Whole episodes as `annotate` reads them: all questions in one batch, each frame encoded once."""
    torch.manual_seed(0)
    model = CompactModel(CompactNet(CompactSettings(views=views)))
    steps = np.arange(0, STEPS + 1, EVERY)
    zeros = np.zeros(STEPS + 1, np.float32)
    episode = Episode(
        "e", TASK, "policy", 0, zeros[:, None], zeros[:, None], zeros[:-1, None], zeros[:-1],
        np.zeros(STEPS + 1, np.int64), zeros, True, False, True, steps, pictures(len(steps), 5, views),
    )  # fmt: skip
    references = References({TASK: Reference(pictures(REFERENCES, 1, views), pictures(REFERENCES, 2, views))})
    settings = TrackerSettings(every=EVERY)
    cpu = [timed(lambda: track_many([episode], model, settings, references))[1] for _ in range(repeats)]
    typical = float(np.median(cpu))
    pairs = len(steps) * REFERENCES * HOPS_PER_REFERENCE
    stem = f"episodes_{len(views)}_views"
    return {f"{stem}_pairs_per_cpu_s": pairs / typical, f"{stem}_frames_per_cpu_s": len(steps) / typical}


def bench_memory() -> dict[str, float]:
    """Weights, one cached frame where its pixels are the key, and the most this process has held."""
    net = CompactNet(CompactSettings(views=VIEWS))
    weights = sum(t.numel() * t.element_size() for t in net.state_dict().values())
    cached = len(VIEWS) * SIZE * SIZE * 3 + net.settings.features * 4
    return {
        "weights_mib": weights / 2**20,
        "cache_kib_per_frame": cached / 2**10,
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10,
    }


def timed(call: Callable[[], Any]) -> tuple[float, float]:
    """Wall and CPU seconds of one call; with one thread, the second does not count what ran beside it."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small, and nothing is written")
    parser.add_argument("--note", default="", help="what else the machine was doing")
    arguments = parser.parse_args()
    quick = arguments.quick
    torch.set_num_threads(1)
    result: dict[str, float] = {}
    for count in (1, 2, 3):
        views = VIEWS[:count]
        result |= bench_queries(views, 1, 5 if quick else 200)
        result |= bench_queries(views, 32, 2 if quick else 40)
        result |= bench_episodes(views, 2 if quick else 20)
    result |= bench_memory()
    result = {key: round(value, 4) for key, value in result.items()}
    about: dict[str, Any] = {"command": "python scripts/bench_reward.py", **made_on(), "threads": 1,
               "note": arguments.note}  # fmt: skip
    text = json.dumps({**result, **about}, indent=1)
    print(text)
    if not quick:
        RESULT.write_text(text + "\n")


if __name__ == "__main__":
    main()
