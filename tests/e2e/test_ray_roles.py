"""runtime=ray on a cluster of two nodes: the same roles, started again by Ray when they are killed."""

import json
import os
import signal
import threading
import time
from functools import partial
from types import SimpleNamespace

import pytest

pytest.importorskip("torch")
pytest.importorskip("mujoco")
ray = pytest.importorskip("ray")

from robo_reward.config import load_config  # noqa: E402
from robo_reward.data.store import TransitionStore, verify  # noqa: E402
from robo_reward.runtime.ray_roles import _connect, launch  # noqa: E402
from robo_reward.testing.small_run import learn_small, small_config  # noqa: E402

pytestmark = pytest.mark.slow
PATIENT_S = 1500.0


@pytest.fixture
def cluster():
    from ray.cluster_utils import Cluster

    config = {"worker_niceness": 0}  # as `_connect` does: beside other work the roles would starve
    head = {"num_cpus": 2, "include_dashboard": False, "_system_config": config}
    made = Cluster(initialize_head=True, head_node_args=head)
    made.add_node(num_cpus=2)
    ray.init(
        made.address, logging_level="ERROR", runtime_env={"env_vars": {"MUJOCO_GL": "egl", "OMP_NUM_THREADS": "1"}}
    )
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.mark.timeout(4000)
def test_two_nodes_learn_together_and_ray_starts_again_what_dies(cluster, tmp_path):
    config = small_config(tmp_path, rollouts=40, evaluate_every=10**6, patience_s=PATIENT_S)
    roles, rows, ended = {}, [], []

    def train():
        learn = partial(learn_small, config, tmp_path)
        ended.append(launch(config, learn, lambda step, **row: rows.append(row), roles.update))

    thread = threading.Thread(target=train, daemon=True)
    thread.start()
    until = time.monotonic() + PATIENT_S
    for name in ("actor-0", "learner"):
        wanted = len(rows) + 2
        while len(rows) < wanted and thread.is_alive() and time.monotonic() < until:
            time.sleep(0.05)
        assert len(rows) >= wanted, "nothing was learned"
        places = {role: ray.get(handle.where.remote()) for role, handle in roles.items()}
        assert len({node for _, node in places.values()}) == 2, "all of them on one node"
        os.kill(places[name][0], signal.SIGKILL)
    thread.join(PATIENT_S)
    assert ended and ended[0]["rollouts"] == config.train.rollouts
    assert sorted({row["rollout"] for row in rows}) == list(range(1, config.train.rollouts + 1))
    stored = TransitionStore(tmp_path / "stage" / "store").episodes()
    assert {entry.actor for entry in stored} == {"demonstrations", "online-0"}
    index = verify(tmp_path / "stage" / "store")
    assert not index.broken and not index.abandoned
    started = [json.loads(line) for line in (tmp_path / "run" / "logs" / "learner.jsonl").read_text().splitlines()]
    assert sum(line["event"] == "listening" for line in started) == 2, "the learner was not started again"


@pytest.mark.parametrize("address", ["here", "127.0.0.1:9"])
def test_a_cluster_that_does_not_answer_is_one_line(address):
    with pytest.raises(ValueError, match=f"runtime.ray={address}"):
        _connect(address)


def test_over_several_computers_ray_takes_a_certificate(monkeypatch, tmp_path):
    here = SimpleNamespace(get_node_id=lambda: "a")
    nodes = [{"NodeID": name, "Alive": True, "NodeManagerAddress": f"10.0.0.{name}"} for name in "ab"]
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "get_runtime_context", lambda: here)
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    monkeypatch.setattr("robo_reward.runtime.ray_roles.Queue", list)
    with pytest.raises(ValueError, match="over several computers.*set runtime.certificate and runtime.key, made for"):
        launch(small_config(tmp_path), None, None)


def test_ray_is_one_word():
    assert load_config(["runtime=ray", "runtime.actors=4"]).runtime.kind == "ray"
