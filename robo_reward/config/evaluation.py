"""The final evaluation and its perturbed worlds."""

from __future__ import annotations

from dataclasses import dataclass

from robo_reward.settings import number


@dataclass(frozen=True)
class EvaluateConfig:
    """The final evaluation."""

    episodes: int = number(100, low=1)
    """Initial states from which base and trained policy both run."""
    first_seed: int = number(100_000, low=0)
    """Seeds of the paired initial states: first_seed, first_seed + 1, ... [never used in training]"""
    videos: int = number(6, low=0)
    """Filmed episodes, one of every outcome of base and trained in turn."""
    looks: int = number(1, low=1)
    """Times at which a sequential test may end the evaluation before `episodes`, see docs/evaluation.md; 1: never."""
    policies: tuple[str, ...] = ()
    """Finished runs of `train`, by their folders: one, its base against its trained policy; several, their trained
    policies (`base:FOLDER`: the frozen base) against the first. Empty: what the settings train."""
    condition: str = "none"
    """What is different in the robot's world, for `compare`, such as mass:2; in simulation `perturb=` says it."""
    plan: tuple[float, ...] = number((), low=0, high=1)
    """Two success rates: how many paired rollouts tell the second from the first; nothing is run. `plan=0.8,0.95` is
    `evaluate.plan=[0.8,0.95]`; `policies=` and `compare=` are short in the same way."""
    power: float = number(0.8, above=0, high=0.99)
    """Of the plan: chance of finding a difference that is there."""
    compare: tuple[str, ...] = ()
    """Two evaluations of the same policies, by their run folders, the simulation's first: how well it predicts the
    other. Several folders of a side are joined by +."""
    error: float = number(0.05, above=0, high=0.4)
    """Of the sequential test: chance that it calls the second policy better though it is not, or worse."""


@dataclass(frozen=True)
class PerturbConfig:
    """Departures from the training world that `evaluate` measures as well, one axis at a time."""

    axes: tuple[str, ...] = ()
    """Of `robo_reward.envs.perturbation.AXES`: object, layout, friction, mass, size, perception, observation_latency,
    action_latency, control_noise; and what only cameras and the reward model notice: lighting, background, camera_pose,
    camera_noise, camera_dropped, instruction. `perturb=AXIS:SEVERITY` is one axis at one severity."""
    severities: tuple[int, ...] = number((1, 2, 3), low=1, high=3)
    """How far; each is a row."""
    filmed: int = number(20, low=1)
    """Episodes for an axis that only cameras see."""
