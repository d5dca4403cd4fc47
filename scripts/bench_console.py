"""The live console in a headless browser: from a key to the news that it was executed, and overruns of the loop.

    python scripts/bench_console.py [--presses 200] [--train] [--picture docs/images/console.png] [--note "what ran"]

Writes docs/results/console.json. PegInsert with three cameras; browser, server and simulator share the machine. With
`--train` it measures a second time while a training without an operator runs beside it, a process of its own, and adds
those figures as `beside_training_...`. A minute and a half for each hundred presses, twice that with `--train`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from robo_reward.config import EnvConfig
from robo_reward.console.command import BaseActor
from robo_reward.console.server import Console, Server
from robo_reward.console.session import Session
from robo_reward.policies.simple import ZeroPolicy
from robo_reward.runtime.run_folder import command_line, made_on
from robo_reward.runtime.tasks import make_env
from robo_reward.testing.browser import Browser
from robo_reward.testing.console_page import start_episode

RESULT = Path(__file__).parents[1] / "docs" / "results" / "console.json"
KEYS = "wsadqe"
"""Sideways and turning, and back: the peg stays in the air."""
STALE_S = 0.2


async def drive(url: str, presses: int, picture: Path | None) -> dict[str, Any]:
    """Hold the dead-man and strike keys at random moments; a pause for a late input is counted and resumed."""
    rng, pauses = random.Random(0), 0
    async with Browser() as page:
        await page.open(url)
        await page.until("state.you === 'operator' && document.querySelectorAll('img').length === 3")
        await start_episode(page, 20)
        before = await page.value("[state.clock, console_figures().pictures, state.steps, state.overruns]")
        await page.key(" ", down=True)
        for press in range(presses):
            key = rng.choice(KEYS)
            await page.key(key, down=True)
            await asyncio.sleep(rng.uniform(0.1, 0.3))
            await page.key(key, down=False)
            await asyncio.sleep(rng.uniform(0.05, 0.2))
            if await page.value("state.state !== 'taken_over'"):
                pauses += 1
                await page.key(" ", down=False)
                if await page.value("state.state === 'paused'"):
                    await page.key("p")
                await page.until("state.state === 'running'")
                await asyncio.sleep(0.3)
                await page.key(" ", down=True)
            if picture is not None and press == presses // 2:
                await page.picture(picture)
        after = await page.value("[state.clock, console_figures().pictures, state.steps, state.overruns]")
        figures = await page.value("console_figures()")
    seconds, pictures, steps, overruns = (b - a for a, b in zip(before, after, strict=True))
    return {
        "presses_answered": figures["presses"],
        **{f"key_to_news_{name}_ms": round(figures[name], 1) for name in ("p50", "p99") if name in figures},
        "pauses_for_late_input": pauses,
        "seconds": round(seconds, 1),
        "control_steps": steps,
        "control_overruns": overruns,
        "control_overrun_share": round(overruns / max(steps, 1), 4),
        "frames_per_camera_per_s": round(pictures / 3 / seconds, 1),
    }


def bench(presses: int, picture: Path | None) -> dict[str, Any]:
    """One session with the loop in a thread of its own, which also owns the simulator's rendering."""
    made: list[Session] = []
    ready = threading.Event()

    def loop(folder: str) -> None:
        env = make_env(EnvConfig(horizon=100_000))
        made.append(Session(env, lambda: BaseActor(ZeroPolicy(4)), Path(folder), fps=20, first_seed=0, stale_s=STALE_S))
        ready.set()
        made[0].run()
        env.close()

    with tempfile.TemporaryDirectory() as folder:
        thread = threading.Thread(target=loop, args=(folder,))
        thread.start()
        ready.wait()
        server = Server(Console(made[0], "bench", ("dx", "dy", "dz", "dyaw")), 0)
        try:
            return asyncio.run(drive(f"http://127.0.0.1:{server.port}/#bench", presses, picture))
        finally:
            server.close()
            made[0].stop()
            thread.join()


@contextmanager
def training(root: Path) -> Iterator[None]:
    """A training that has begun to learn and goes on until it is ended here: one core, as much of it as it gets."""
    words = [
        "experiment=smoke", "reward=oracle", "shaping=none", "train.rollouts=100000", "train.evaluate_every=100000",
        "quiet=true", f"run.root={root}",
    ]  # fmt: skip
    command = [sys.executable, "-c", "from robo_reward.cli import main; main()", "train", *words]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        while not any(file.stat().st_size for file in root.glob("train-*/metrics.jsonl")):
            if process.poll() is not None:
                raise SystemExit(f"the training beside it ended with exit code {process.returncode}")
            time.sleep(0.5)
        yield
    finally:
        process.kill()
        process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--presses", type=int, default=200)
    parser.add_argument("--train", action="store_true", help="measure once more beside a training")
    parser.add_argument("--picture", type=Path, help="where to put a picture of the page")
    parser.add_argument("--note", default="nothing said about what ran beside it", help="what ran beside it")
    parser.add_argument("--result", type=Path, default=RESULT)
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    figures = bench(arguments.presses, arguments.picture)
    if arguments.train:
        with tempfile.TemporaryDirectory() as folder, training(Path(folder)):
            beside = bench(arguments.presses, None)
        figures |= {f"beside_training_{name}": value for name, value in beside.items()}
    result = {
        **figures,
        "presses": arguments.presses,
        "control_hz": 20,
        "stale_s": STALE_S,
        "note": arguments.note,
        "load_before": round(load, 2),
        "load_after": round(os.getloadavg()[0], 2),
        "command": f"python scripts/{command_line()}",
        **made_on(),
    }
    arguments.result.write_text(json.dumps(result, indent=1) + "\n")
    print(arguments.result.read_text())


if __name__ == "__main__":
    main()
