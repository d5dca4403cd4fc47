"""runtime=ray: the learner and the actors of runtime=async, placed and started again by Ray, on one machine or many.

Ray places, restarts and reports; what the roles say to each other goes over the same link. The learner stays on the
machine of this process, where the run folder is; actors need nothing but the package and the learner's address.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
from collections.abc import Callable
from typing import Any

import ray
from ray.util.queue import Empty, Queue
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from robo_reward.config import Config
from robo_reward.runtime.run_folder import plain_number
from robo_reward.runtime.supervisor import Learn
from robo_reward.runtime.tls import read_keys

_FOREVER = {"max_restarts": -1, "max_task_retries": -1}


class _Role:
    """A process of Ray's; a call that it died in is made again in its replacement."""

    def learn(self, learn: Learn, address: str, token: str, rows: Queue) -> dict[str, Any]:
        def log(step: int, **numbers: Any) -> None:
            rows.put([int(step), {name: plain_number(value) for name, value in numbers.items()}])

        return learn(address=address, token=token, ready=lambda at: None, log=log)

    def act(self, config: Config, address: str, number: int, token: str, root: bytes | None) -> int:
        from robo_reward.runtime.actor import run_actor

        return run_actor(config, address, number, token, root)

    def where(self) -> tuple[int, str]:
        """Process id and node."""
        return os.getpid(), ray.get_runtime_context().get_node_id()


def launch(
    config: Config, learn: Learn, log: Callable[..., None], watch: Callable[[dict[str, Any]], None] | None = None
) -> dict[str, Any]:
    """`supervisor.supervise` with Ray in its place.

    Args:
        watch: told the roles' handles by name, for tests.

    Raises:
        ValueError: the cluster does not answer, or a role gave up, in its words.
    """
    ours = not ray.is_initialized()
    if ours:
        _connect(config.runtime.ray)
    token, rows = secrets.token_hex(16), Queue()
    own = ray.get_runtime_context().get_node_id()
    others = [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["NodeID"] != own] or [own]
    one = len({node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}) == 1
    keys = read_keys(config.runtime)
    if not one and keys is None:
        raise ValueError(
            "runtime=ray over several computers speaks over the network: set runtime.certificate and runtime.key, made "
            f"for the address {ray.util.get_node_ip_address()} of this one"
        )
    # A certificate that its own key has signed is what the actors trust, too.
    host, root = ("127.0.0.1", None) if keys is None else (ray.util.get_node_ip_address(), keys[1])
    address = f"{host}:{_free_port()}"
    role: Any = ray.remote(_Role)
    # Each has a second thread for being asked while it works.
    learner = role.options(scheduling_strategy=_at(own), max_concurrency=2, **_FOREVER).remote()
    actors = [
        role.options(
            scheduling_strategy=_at(others[n % len(others)], soft=True), max_concurrency=2, **_FOREVER
        ).remote()
        for n in range(config.runtime.actors)
    ]
    if watch is not None:
        watch({"learner": learner, **{f"actor-{number}": actor for number, actor in enumerate(actors)}})
    learned = learner.learn.remote(learn, address, token, rows)
    playing = [actor.act.remote(config, address, number, token, root) for number, actor in enumerate(actors)]
    try:
        while True:
            ended, _ = ray.wait([learned, *playing], num_returns=1, timeout=0.5)
            _drain(rows, log)
            if learned in ended:
                summary: dict[str, Any] = ray.get(learned)
                _drain(rows, log)
                return summary
            ray.get(ended)  # raises what an actor raised
            playing = [play for play in playing if play not in ended]
    except ray.exceptions.RayTaskError as error:
        raise (error.cause if isinstance(error.cause, (ValueError, OSError)) else error) from None
    finally:
        queue: Any = rows.actor
        for handle in (learner, *actors, queue) if ray.is_initialized() else ():
            ray.kill(handle)
        if ours:
            ray.shutdown()


def _at(node: str, soft: bool = False) -> NodeAffinitySchedulingStrategy:
    """On this node, or when it is gone and `soft`, on another."""
    return NodeAffinitySchedulingStrategy(node, soft=soft)


def _connect(address: str | None) -> None:
    """A cluster of this computer's own, or the one at the address."""
    if address is not None:
        host, _, port = address.rpartition(":")
        if not host or not port.isdigit():
            raise ValueError(f"runtime.ray={address}: expected HOST:PORT of a running Ray cluster, or null")
        try:
            socket.create_connection((host, int(port)), 5).close()
        except OSError as error:
            raise ValueError(
                f"runtime.ray={address} does not answer ({error}): start Ray there with `ray start --head`, or leave "
                "runtime.ray out for a cluster of this computer's own"
            ) from None
    variables = {name: os.environ[name] for name in ("MUJOCO_GL", "OMP_NUM_THREADS") if name in os.environ}
    # Ray makes its workers give way to whatever else runs (nice 15): on a busy computer the learner starves.
    own: dict[str, Any] = {} if address else {"include_dashboard": False, "_system_config": {"worker_niceness": 0}}
    ray.init(
        address or "local", log_to_driver=True, logging_level=logging.ERROR, runtime_env={"env_vars": variables}, **own
    )


def _free_port() -> int:
    """The learner keeps it over its restarts."""
    with socket.socket() as found:
        found.bind(("", 0))
        return int(found.getsockname()[1])


def _drain(rows: Queue, log: Callable[..., None]) -> None:
    while True:
        try:
            step, numbers = rows.get_nowait()
        except Empty:
            return
        log(step, **numbers)
