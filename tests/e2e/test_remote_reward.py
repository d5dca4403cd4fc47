"""A real chat server, `transformers serve` with a tiny model, rewards a run on PegInsert and hangs in its middle."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

for package in ("torch", "mujoco", "lerobot", "transformers", "uvicorn", "fastapi", "openai", "aiohttp"):
    pytest.importorskip(package)

from robo_reward.config import load_config  # noqa: E402
from robo_reward.data.store import TransitionStore  # noqa: E402
from robo_reward.data.tracks import TrackStore  # noqa: E402
from robo_reward.runtime.pipeline import train  # noqa: E402
from robo_reward.runtime.run_folder import RunFolder  # noqa: E402
from robo_reward.testing.transformers_serve import build_answering_vlm  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def chat_server(tmp_path_factory):
    """Process, address and the name of its model."""
    folder = build_answering_vlm(tmp_path_factory.mktemp("vlm"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "robo_reward.testing.transformers_serve", str(folder), "--port", str(port),
               "--host", "127.0.0.1", "--device", "cpu"]  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(command, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    while True:
        try:
            urllib.request.urlopen(f"{url}/health", timeout=5).close()
            break
        except (urllib.error.URLError, OSError):
            assert process.poll() is None, "the server did not start"
            time.sleep(0.5)
    yield process, url, str(folder)
    process.kill()
    process.wait()


def test_a_run_goes_on_while_its_chat_server_hangs_and_every_episode_is_annotated(chat_server, tmp_path, monkeypatch):
    process, url, name = chat_server
    waited, log = [], RunFolder.log

    def watched(self, *arguments, **numbers):
        log(self, *arguments, **numbers)
        [folder] = [path.parent for path in (tmp_path / "stages").glob("train-*/store")]
        [tracks] = [TrackStore(folder / "tracks").read(path.name) for path in (folder / "tracks").iterdir()]
        waited.append(len(TransitionStore(folder / "store").episodes()) - len(tracks))
        if numbers["rollout"] in (2, 4):
            os.kill(process.pid, signal.SIGSTOP if numbers["rollout"] == 2 else signal.SIGCONT)

    monkeypatch.setattr(RunFolder, "log", watched)
    config = load_config([
        "experiment=smoke", "quiet=true", f"run.root={tmp_path}", "env.horizon=40", "collect.demos=2",
        "collect.weak=0", "collect.validation=0", "collect.test=0", "collect.query_every=10", "base.demos=1",
        "train.rollouts=6", "train.warmup_updates=4", "agent.updates_per_step=1", "train.evaluate_every=6",
        "evaluate.episodes=2", "evaluate.videos=0", "reward=remote", "reward.api=openai", f"reward.url={url}",
        f"reward.model='{name}'", "reward.deadline_s=60", "reward.attempts=1", "reward.concurrency=2",
        "reward.cool_down_s=0",
    ])  # fmt: skip
    summary = train(config)
    assert summary["rollouts"] == 6 and "waiting_episodes" not in summary
    assert waited[2:4] == [1, 2] and waited[-1] == 0
    [folder] = [path.parent for path in (tmp_path / "stages").glob("train-*/store")]
    [tracks] = [TrackStore(folder / "tracks").read(path.name) for path in (folder / "tracks").iterdir()]
    assert set(tracks) == {entry.episode_id for entry in TransitionStore(folder / "store").episodes()}
    assert all(track.confidence.min() > 0 for track in tracks.values()), "every question had an answer"
    assert all(0 < track.phi[-1] < 1 for track in tracks.values())
    assert json.loads((next((tmp_path / "stages").glob("train-reward-*")) / "remote.json").read_text())["chat"] == name
