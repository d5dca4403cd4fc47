"""A process is killed or interrupted at its worst moment: the next one goes on and finds nothing broken."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from robo_reward.config import Config
from robo_reward.runtime.run_folder import RunFolder, read_metrics

pytestmark = pytest.mark.fault

PROGRAM = """
import sys, time
from robo_reward import cli
from robo_reward.runtime.run_folder import RunFolder
from robo_reward.runtime.stages import run_stage

def toy(config):
    with RunFolder(config.run.dir, config, config.command, quiet=True) as run:
        def build(folder):
            found = len(list(folder.glob("step*")))
            for step in range(found, 6):
                (folder / f"step{step}").write_text("x" * 1000)
                run.log(step, loss=1.0)
                while step == 3 and found == 0:
                    time.sleep(0.01)
            return {"found": found}
        stage = run_stage(config.run.stages, "toy", {}, [], build, resumable=True, quiet=True)
        run.finish({"found": stage.summary["found"]})

cli.main(["toy"], {"toy": toy})
"""


def start(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", PROGRAM], cwd=folder, stderr=subprocess.PIPE, text=True)


def wait_for_step(process: subprocess.Popen[str], folder: Path, step: int) -> None:
    while not list(folder.glob(f"runs/stages/*.partial/step{step}")):
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        time.sleep(0.01)
    time.sleep(0.2)  # into the waiting loop


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "kill -9"])
def test_the_next_process_goes_on(tmp_path, how):
    first = start(tmp_path)
    wait_for_step(first, tmp_path, 3)
    first.send_signal(how)
    said = first.communicate(timeout=60)[1]
    if how == signal.SIGINT:
        assert first.returncode == 130
        assert said.splitlines() == ["interrupted; run the same command again to resume"]
    assert not list(tmp_path.glob("runs/toy-*/summary.json"))

    second = start(tmp_path)
    assert second.communicate(timeout=120)[1] == "" and second.returncode == 0
    (summary,) = tmp_path.glob("runs/toy-*/summary.json")
    assert json.loads(summary.read_text())["found"] == 4
    assert [row["step"] for row in read_metrics(summary.parent)] == [0, 1, 2, 3, 4, 5]


def test_a_writer_killed_anywhere_leaves_readable_files(tmp_path):
    program = f"""
from robo_reward.config import Config
from robo_reward.runtime.run_folder import RunFolder
run = RunFolder({str(tmp_path)!r}, Config(), "train", quiet=True)
step = 0
while True:
    run.log(step, loss=1 / 3)
    run.finish({{"step": step, "padding": "x" * 100000}})
    step += 1
"""
    process = subprocess.Popen([sys.executable, "-c", program])
    while not (tmp_path / "summary.json").exists():
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(0.3)
    process.kill()
    process.wait()
    last = json.loads((tmp_path / "summary.json").read_text())["step"]
    steps = [row["step"] for row in read_metrics(tmp_path)]
    assert steps == list(range(len(steps))) and len(steps) >= last + 1
    with RunFolder(tmp_path, Config(), "train", quiet=True) as run:
        run.log(steps[-1] + 1, loss=0.0)
    assert read_metrics(tmp_path)[-1]["step"] == steps[-1] + 1
