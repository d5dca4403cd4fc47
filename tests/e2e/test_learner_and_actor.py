"""`robo-reward learner` and `robo-reward actor`, each by itself, and `train runtime=async`: to the report."""

import json
import os
import socket
import subprocess
import sys

import pytest

for package in ("torch", "mujoco", "grpc"):
    pytest.importorskip(package)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
SETTINGS = [
    "experiment=smoke", "reward=oracle", "evaluate.videos=0", "evaluate.episodes=1", "train.rollouts=3",
    "train.warmup_updates=20", "train.evaluate_episodes=1", "train.evaluate_every=3", "collect.demos=2",
    "collect.weak=0", "collect.validation=0", "collect.test=0", "collect.all_frames=false", "env.horizon=40",
]  # fmt: skip
PROGRAM = "from robo_reward.cli import main; main()"


def start(*words, token="secret"):
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "MUJOCO_GL": "egl", "ROBO_REWARD_TOKEN": token},
    )  # fmt: skip


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def test_two_commands_train_together_and_async_goes_on_with_their_work(tmp_path):
    where, root = f"127.0.0.1:{free_port()}", f"run.root={tmp_path}"
    learner = start("learner", *SETTINGS, f"runtime.listen={where}", root)
    actor = start("actor", f"runtime.connect={where}", root)
    said, told = learner.communicate()[0], actor.communicate()[0]
    assert learner.returncode == 0, said
    assert actor.returncode == 0 and "the run is over" in told, told
    assert f"robo-reward actor runtime.connect={where}" in said
    [summary] = (json.loads(path.read_text()) for path in tmp_path.glob("learner-*/summary.json"))
    assert summary["rollouts"] == 3 and "final_success" in summary
    assert [path.name for path in tmp_path.glob("actors/*")] == ["logs"], "the spool of a finished run is left"
    # The same training, by one command: it is already there.
    again = start("train", *SETTINGS, "runtime=async", root)
    said = again.communicate()[0]
    assert again.returncode == 0 and "train: already there" in said, said


def test_a_training_of_its_own_processes_runs_to_its_report(tmp_path):
    run = start("train", *SETTINGS, "runtime=async", "runtime.actors=2", f"run.root={tmp_path}")
    said = run.communicate()[0]
    assert run.returncode == 0, said
    [folder] = [path.parent for path in tmp_path.glob("train-*/summary.json")]
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["rollouts"] == 3 and (folder / "report.html").exists()
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["rollout"] for row in rows if "rollout" in row] == [1, 2, 3]
    assert {path.stem for path in folder.glob("logs/*.jsonl")} == {"supervisor", "learner", "actor-0", "actor-1"}


def test_mistakes_end_in_one_line(tmp_path):
    for words, wanted in (
        (["actor", "runtime.connect=127.0.0.1:9", "runtime.patience_s=0.5"], "has not answered for 0.5 s"),
        (["actor"], "runtime.connect=HOST:PORT"),
        (["learner", "hil=simulated"], "hil=simulated with learner"),
    ):
        ended = start(*words, f"run.root={tmp_path}")
        said = ended.communicate()[0].strip()
        assert ended.returncode == 2 and wanted in said.splitlines()[-1] and "Traceback" not in said, said
