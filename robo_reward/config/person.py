"""The operator of a run and the live session."""

from __future__ import annotations

from dataclasses import dataclass

from robo_reward.settings import choice, number


@dataclass(frozen=True)
class HilConfig:
    """A person in the loop of `train`; the times of the simulated one are the task's own."""

    kind: str = choice("none", "none", "simulated", "console", "device")
    """simulated: the scripted expert takes over where the policy gets stuck, and gives the arm back; console: you do,
    in the browser; device: you do, with a device at this computer, and the browser shows."""
    device: str = "gamepad"
    """With hil=device: a name in conf/teleop, a file ending in .yaml, or a recording ending in .jsonl."""
    judge: str = choice("person", "person", "env", "reward", "classifier")
    """Who judges the episodes of hil=console and device: you, each of them; or, where you do not, the world, the reward
    model's completion or a classifier of success that your labels train, and then the next episode starts by itself."""
    classifier_every: int = number(10, low=1)
    """Episodes that you judged, with hil.judge=classifier, between its trainings"""
    classifier_steps: int = number(150, low=1)
    """Steps of each"""
    protocol: str = choice("takeovers", "takeovers", "demonstrations", "graded")
    """What the simulated operator does, and what the page asks of you before each episode: take over, show whole
    episodes first, or show some and then return to where the policy gets stuck."""
    demonstrations: int = number(5, low=0)
    """First rollouts that it shows, unless it takes over"""
    returns: int = number(2, low=1)
    """Failures of the policy at a place, with hil.protocol=graded, until the operator shows the way from there"""
    enough: float = number(0.9, above=0, high=1)
    """Success of the policy alone from which hil.protocol=graded asks for no help"""
    patience_s: float = number(0.5, above=0)
    """[s] without progress after which the operator takes over"""
    late_s: float = number(3.0, above=0)
    """[s] from the episode's start after which it takes over in any case"""
    force: float = number(50.0, above=0)
    """[N] contact force at which it takes over"""
    gated_steps: int = number(0, low=0)
    """Steps in a row that the gate cuts at which it takes over; 0: it does not look at the gate"""
    reaction_s: float = number(0.3, low=0)
    """[s] from trouble to the first corrected step"""
    gain: float = number(1.0, above=0, high=1)
    """Progress after which it gives the arm back; 1: it drives to the end."""
    noise: float = number(0.05, low=0)
    """Standard deviation of its tremor, in action units."""
    skill: float = number(1.0, low=0, high=1)
    """Share of episodes in which it knows the task; in the others it drives as the weak script does."""
    attention: float = number(1.0, low=0, high=1)
    """Share of episodes that it watches."""
    budget_minutes: float = number(10.0, low=0)
    """[min] of driving, over the whole run"""
    blend_steps: int = number(3, low=1)
    """[steps] of a hand-over between policy and operator; 1 switches at once"""


@dataclass(frozen=True)
class ConsoleConfig:
    """The pages in the browser."""

    page: str = choice("live", "live", "watch", "review", "keyframes")
    """live: a session; watch: a session that nobody commands, one episode after the other; review: the past episodes of
    store=; keyframes: the sub-tasks of dataset=, to be marked."""

    port: int = number(8765, low=0, high=65535)
    """On 127.0.0.1; 0 takes any free one."""
    policy: str = choice("base", "base", "trained")
    """What drives while nobody does: the base policy, or the one that `train` leaves with these settings."""
