"""Which processes a training run is made of, and how they reach each other."""

from __future__ import annotations

from dataclasses import dataclass

from robo_reward.settings import choice, number

REACHED = ("listen", "connect", "actor", "ray", "patience_s", "certificate", "key", "root")
"""Settings that say how a run is reached, not which one it is."""


@dataclass(frozen=True)
class RuntimeConfig:
    """The processes of the training stage: docs/runtime.md."""

    kind: str = choice("local", "local", "async", "ray")
    """local: one process, deterministic; async: actors and the learner in processes of their own, restarted when they
    die; ray: the same, placed and restarted by Ray."""
    actors: int = number(1, low=1, high=64)
    """Actors of an async or ray run, each with a world of its own."""
    ahead: int = number(2, low=1)
    """[rollouts] that an actor may have finished and the learner not yet learned from: with so many it waits. With 1
    actor and 1 ahead async gives the numbers of local."""
    staleness: int = number(20, low=1)
    """[rollouts] that the learner may be ahead of the weights an actor acts with: beyond it the actor waits."""
    patience_s: float = number(600.0, above=0)
    """[s] for which an actor waits for a learner that does not answer"""
    listen: str = "127.0.0.1:0"
    """HOST:PORT at which `learner` waits for actors; port 0: any that is free. Beyond this computer it takes TLS and a
    token, in the environment variable ROBO_REWARD_TOKEN of both sides."""
    connect: str | None = None
    """HOST:PORT of the learner, for `actor`."""
    certificate: str | None = None
    """File (PEM) with the learner's certificate, which names its address, for `learner` and runtime=ray."""
    key: str | None = None
    """File (PEM) with the private key of that certificate."""
    root: str | None = None
    """File (PEM) with the certificate that `actor` trusts: the learner's own, or that of who signed it."""
    actor: int = number(0, low=0, high=63)
    """Number of this `actor`, from 0 to below runtime.actors."""
    ray: str | None = None
    """Address of a running Ray cluster for runtime=ray; null: one of this computer's own."""
