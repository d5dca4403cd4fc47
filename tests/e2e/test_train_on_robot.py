"""`robo-reward train robot=sim_arm` over the real wire, in its smallest size: finished; killed and gone on with."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

for package in ("torch", "mujoco", "cyclonedds", "matplotlib"):
    pytest.importorskip(package)

from robo_reward.config import load_config  # noqa: E402
from robo_reward.data.split import iterate_split  # noqa: E402
from robo_reward.data.store import TransitionStore  # noqa: E402
from robo_reward.runtime.evaluating import KEPT  # noqa: E402
from robo_reward.runtime.pipeline import train  # noqa: E402
from robo_reward.runtime.worlds import ROBOT_LOG  # noqa: E402

pytestmark = pytest.mark.slow
TINY = [
    "experiment=smoke", "robot=sim_arm", "quiet=true", "env.horizon=150", "robot.camera_hz=3", "collect.demos=3",
    "collect.weak=2", "collect.validation=0", "collect.test=0", "base.demos=1", "train.rollouts=2",
    "train.evaluate_every=2", "train.evaluate_episodes=1", "train.warmup_updates=5", "evaluate.episodes=1",
    "evaluate.videos=0",
]  # fmt: skip
ORACLE = [*TINY, "reward=oracle", "collect.demos=1", "collect.weak=0", "train.rollouts=3", "train.evaluate_every=3"]

TRAIN = [sys.executable, "-c", "from robo_reward.cli import main; main()", "train"]


def words(root: Path, settings: list[str], domain: int) -> list[str]:
    return [*settings, f"run.root={root}", f"robot.domain={1 + (os.getpid() + domain) % 100}"]


def test_the_whole_line_runs_over_the_wire_and_shows_what_the_gate_did(tmp_path):
    summary = train(load_config(words(tmp_path, TINY, 0)))
    assert summary["rollouts"] == 2 and summary["robot_episodes"] >= 3 + 2 + 2 + 1 + 2
    assert summary["robot_age_ms_p50"] > 0
    report = next(tmp_path.glob("train-*/report.html")).read_text()
    assert "Actions, requested and executed" in report and "steps cut by the gate" in report
    for stage in ("collect", "train", "evaluate"):
        lines = next(tmp_path.glob(f"stages/{stage}-*/{ROBOT_LOG}")).read_text().splitlines()
        assert all(len(json.loads(line)["executed"]) == json.loads(line)["steps"] for line in lines)


@pytest.mark.fault
def test_a_killed_run_goes_on_after_its_last_stored_rollout(tmp_path):
    kill_when(words(tmp_path, ORACLE, 50), tmp_path, f"train-*.partial/{ROBOT_LOG}")
    summary = train(load_config(words(tmp_path, ORACLE, 50)))
    with TransitionStore(next(tmp_path.glob("stages/train-*/store"))) as store:
        online = [entry for entry in store.episodes() if entry.actor == "online"]
        assert len(online) == summary["rollouts"] == 3
        assert sum(len(store.read(entry.episode_id)) for entry in online) == summary["env_steps"]
        assert not store.index.broken and not store.index.abandoned


@pytest.mark.fault
def test_an_evaluation_that_was_killed_goes_on_with_the_episodes_it_has_seen(tmp_path):
    settings = [*ORACLE, "train.rollouts=1", "train.evaluate_every=1", "evaluate.episodes=2"]
    kill_when(words(tmp_path, settings, 20), tmp_path, f"evaluate-*.partial/{ROBOT_LOG}")
    [kept] = tmp_path.glob(f"stages/evaluate-*.partial/{KEPT}")
    before = list(iterate_split(kept))
    summary = train(load_config(words(tmp_path, settings, 20)))
    [folder] = tmp_path.glob("stages/evaluate-*")
    episodes = json.loads((folder / "episodes.json").read_text())
    for seen in before:
        assert [row["steps"] for row in episodes[seen.source] if row["seed"] == seen.seed] == [len(seen)]
    assert summary["evaluation_episodes"] == 2 and not (folder / KEPT).exists()
    assert len((folder / ROBOT_LOG).read_text().splitlines()) == 4


def test_a_person_trains_the_simulated_arm_at_the_console(tmp_path):
    """Arm and start once, as a browser would; hil.judge=env does the rest."""
    aiohttp = pytest.importorskip("aiohttp")
    settings = [*ORACLE, "train.rollouts=2", "train.evaluate_every=2", "hil=console", "hil.judge=env", "console.port=0"]
    program = [
        sys.executable,
        "-c",
        "from robo_reward.cli import main; main()",
        "train",
        *words(tmp_path, settings, 70),
    ]
    process = subprocess.Popen(program, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    url = next(line.split()[1] for line in process.stdout if line.startswith("console: "))
    address, _, token = url.partition("/#")
    states: list[dict] = []

    async def visit():
        async with (
            aiohttp.ClientSession() as browser,
            browser.ws_connect(f"{address}/socket", origin=address) as socket,
        ):
            await socket.send_json({"token": token})
            async for message in socket:
                if message.type is not aiohttp.WSMsgType.TEXT or (word := message.json())["type"] != "state":
                    continue
                if not states or states[-1]["state"] != word["state"]:
                    states.append(word)
                    if event := {"idle": "arm", "armed": "start"}.get(word["state"]):
                        await socket.send_json({"type": "event", "event": event})

    asyncio.run(visit())
    assert process.wait(300) == 0
    summary = json.loads(next(tmp_path.glob("train-*/summary.json")).read_text())
    assert summary["rollouts"] == 2 and summary["robot_episodes"] >= 2
    assert any(word["state"] == "running" and word["age_s"] > 0 for word in states)


def kill_when(settings: list[str], root: Path, pattern: str) -> None:
    """Train until a file below the stages, by its pattern, has a line; then kill -9."""
    process = subprocess.Popen([*TRAIN, *settings])
    deadline = time.monotonic() + 300
    while not (found := list(root.glob(f"stages/{pattern}"))) or not found[0].read_text():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.wait()
