"""A real chat server, `transformers serve` with a tiny model, rewards a run on PegInsert and fails in its middle."""

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
from robo_reward.testing.chaos_proxy import ChaosProxy  # noqa: E402
from robo_reward.testing.transformers_serve import build_answering_vlm  # noqa: E402

pytestmark = pytest.mark.slow


HTML = b"<html><body><h1>502 Bad Gateway</h1></body></html>"
CUT = b'{"id": "1", "object": "chat.completion", "model": "a", "choices": [{"index": 0, "message": {"role": "assist'


class Server:
    """The process; started again, it has the same address."""

    def __init__(self, folder):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self.name = str(folder)
        self.start()

    def start(self):
        host, port = self.address.split(":")
        command = [sys.executable, "-m", "robo_reward.testing.transformers_serve", self.name, "--port", port,
                   "--host", host, "--device", "cpu"]  # fmt: skip
        self.process = subprocess.Popen(command, env={**os.environ, "HF_HUB_OFFLINE": "1"})
        while True:
            try:
                urllib.request.urlopen(f"http://{self.address}/health", timeout=5).close()
                break
            except (urllib.error.URLError, OSError):
                assert self.process.poll() is None, "the server did not start"
                time.sleep(0.5)

    def kill(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    found = Server(build_answering_vlm(tmp_path_factory.mktemp("vlm")))
    yield found
    found.kill()


@pytest.fixture
def failing(server, request):
    """Address, and what happens to the server after the second, third and fourth of six rollouts."""
    proxy = ChaosProxy(server.address)
    yield {
        "hung": (server.address, {2: lambda: os.kill(server.process.pid, signal.SIGSTOP),
                                  4: lambda: os.kill(server.process.pid, signal.SIGCONT)}),
        "killed": (server.address, {2: server.kill, 4: server.start}),
        "garbled": (proxy.address, {2: lambda: proxy.garble(HTML), 3: lambda: proxy.garble(CUT), 4: proxy.mend}),
    }[request.param]  # fmt: skip
    proxy.close()


@pytest.mark.parametrize("failing", ["killed", "garbled", "hung"], indirect=True)
def test_a_run_goes_on_while_its_chat_server_fails_and_every_episode_is_annotated(
    server, failing, tmp_path, monkeypatch
):
    (address, happens), name = failing, server.name
    waited, log = [], RunFolder.log

    def watched(self, *arguments, **numbers):
        log(self, *arguments, **numbers)
        [folder] = [path.parent for path in (tmp_path / "stages").glob("train-*/store")]
        [tracks] = [TrackStore(folder / "tracks").read(path.name) for path in (folder / "tracks").iterdir()]
        waited.append(len(TransitionStore(folder / "store").episodes()) - len(tracks))
        happens.get(numbers["rollout"], lambda: None)()

    monkeypatch.setattr(RunFolder, "log", watched)
    config = load_config([
        "experiment=smoke", "quiet=true", f"run.root={tmp_path}", "env.horizon=40", "collect.demos=2",
        "collect.weak=0", "collect.validation=0", "collect.test=0", "collect.query_every=10", "base.demos=1",
        "train.rollouts=6", "train.warmup_updates=4", "agent.updates_per_step=1", "train.evaluate_every=6",
        "evaluate.episodes=2", "evaluate.videos=0", "reward=remote", "reward.api=openai", f"reward.url=http://{address}",
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
