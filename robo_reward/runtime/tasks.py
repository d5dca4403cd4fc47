"""What belongs to one environment: its scripted experts, its stages, its seeds."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import gymnasium

from robo_reward.config import EnvConfig
from robo_reward.evaluation.vector import Environments, make_vector
from robo_reward.interfaces import Policy
from robo_reward.learning.symmetry import Parts, Symmetry
from robo_reward.progress.segmentation import EventSignal
from robo_reward.settings import unknown

SPLITS = ("demos", "weak", "validation", "test")
SEED_SPAN = 1_000_000
"""Seeds of one experiment seed: every kind of rollout has its own range inside, so no two share an initial state."""
_OFFSETS = {"demos": 0, "weak": 100_000, "validation": 200_000, "test": 300_000, "online": 400_000,
            "session": 500_000}  # fmt: skip


@dataclass(frozen=True)
class Task:
    """What a task is made of, beside its environment."""

    stages: tuple[str, ...]
    robot: str
    script: str
    """module:class of the scripted expert and weak policy, in `robo_reward.policies`."""
    columns: tuple[int, ...] | None = None
    """Columns of (agent_pos, estimate) that learned policies see, default all."""
    events: tuple[EventSignal, ...] = ()
    """Columns of agent_pos that tell of contacts and of the gripper, for keyframes without stage predicates."""
    symmetry: Symmetry | None = None
    """What of (agent_pos, estimate) and of the action turns with the task, where the task looks the same from four
    sides."""
    fps: int = 20


REAL = "robot"
"""Environment id of an arm that no simulator of this project knows."""
TASKS = {
    REAL: Task(("done",), "robot", ""),
    "robo_reward/PegInsert-v0": Task(
        ("over the socket", "at the mouth", "engaged", "inserted"),
        "panda_primitive",
        "scripted:ScriptedPeg",
        # wrench, target offset, gripper, last action; socket yaw, in-hand pose, tip relative to the mouth, contact
        columns=(*range(13, 30), *range(33, 46)),
        events=(EventSignal(15, "contact", threshold=4.0, slack=2.0),),  # vertical force [N]; the gripper never moves
        # Peg and hole are square, and the impedance is the same on every side.
        symmetry=Symmetry(
            Parts(
                vectors=(13, 19, 26, 34, 37, 41, 44),  # force, target offset, last action; in hand, tip, near, contact
                axial=(16, 22),  # moment, target's rotation
                angles=(18, 24, 29, 33, 36, 40),
            ),
            action=Parts(vectors=(0,), angles=(3,)),
        ),
    ),
    "robo_reward/PegInsertLong-v0": Task(
        ("near the peg", "grasped", "at the mouth", "inserted"),
        "panda_primitive",
        "scripted_peg_long:ScriptedPegLong",
        # as PegInsert's, and the height of the peg in the hand
        columns=(*range(13, 31), *range(34, 48)),
        events=(EventSignal(25, "gripper", threshold=0.020, slack=0.003),),  # a finger's way; the peg keeps it at 10 mm
        # As PegInsert's, but two fingers hold the peg otherwise along their way than across it.
        symmetry=Symmetry(
            Parts(vectors=(13, 19, 26, 35, 38, 42, 45), axial=(16, 22), angles=(18, 24, 29, 34, 37, 41)),
            action=Parts(vectors=(0,), angles=(3,)),
            quarters=False,
        ),
    ),
    "robo_reward/Lift-v0": Task(
        ("near the cube", "around the cube", "grasped", "lifted"),
        "panda",
        "scripted_lift:ScriptedLift",
        events=(EventSignal(14, "gripper", threshold=0.06, slack=0.005),),  # finger gap [m]; the cube is 40 mm wide
    ),
    "robo_reward/NutAssemblySquare-v0": Task(
        ("near the nut", "grasped", "over the peg", "on the peg"),
        "panda",
        "scripted_nut:ScriptedNut",
        # all but the joints and the hand's place over the table, of which only the height matters
        columns=tuple(range(9, 34)),
        events=(EventSignal(14, "gripper", threshold=0.05, slack=0.005),),  # finger gap [m]; the handle is 32 mm wide
    ),
    "robo_reward/PickPlaceCan-v0": Task(
        ("near the can", "grasped", "over the bin", "in the bin"),
        "panda",
        "scripted_can:ScriptedCan",
        # all but the yaw of a round can
        columns=(*range(29), *range(31, 34)),
        events=(EventSignal(14, "gripper", threshold=0.065, slack=0.005),),  # finger gap [m]; the can is 50 mm wide
    ),
    "robo_reward/Stack-v0": Task(
        ("near the cube", "grasped", "over the green cube", "stacked"),
        "panda",
        "scripted_stack:ScriptedStack",
        events=(EventSignal(14, "gripper", threshold=0.06, slack=0.005),),  # finger gap [m]; the cube is 40 mm wide
    ),
    "robo_reward/Door-v0": Task(
        ("over the handle", "around the handle", "unlatched", "open"),
        "panda",
        "scripted_door:ScriptedDoor",
        # force along the hand's axis at the wrist [N]: the palm presses; the gripper stays open
        events=(EventSignal(17, "contact", threshold=8.0, slack=3.0),),
    ),
}


def task_of(env: EnvConfig) -> Task:
    """The task of an environment id; ValueError with the nearest known id."""
    if env.id not in TASKS:
        raise ValueError(unknown("env.id", env.id, TASKS))
    return TASKS[env.id]


def make_env(env: EnvConfig) -> gymnasium.Env[Any, Any]:
    """The environment without cameras in its observation: frames are rendered only where they are asked for."""
    import robo_reward.envs  # noqa: F401 - registers the ids

    task_of(env)
    if env.id == REAL:
        raise ValueError(f"env.id={REAL} is a real arm: add robot=NAME, or choose a simulated world")
    made = gymnasium.make(env.id, cameras=env.cameras, image_size=env.image_size, horizon=env.horizon)
    made.close()  # the cameras were only named to be checked
    world = gymnasium.make(env.id, cameras=(), image_size=env.image_size, horizon=env.horizon)
    if env.arm:
        from robo_reward.evaluation.identification import apply_parameters, load_parameters

        apply_parameters(world, load_parameters(env.arm))
    if not env.randomise:
        return world
    from robo_reward.envs.perturbation import Randomised

    return Randomised(world, env.randomise)


def make_envs(env: EnvConfig, wrap: Callable[[Any], Any] | None = None) -> Environments:
    """`env.count` environments for `run_jobs`, each in `wrap`; a single one runs in this process."""
    make = partial(_make_wrapped, env, wrap)
    return make() if env.count == 1 else make_vector(make, env.count)


def _make_wrapped(env: EnvConfig, wrap: Callable[[Any], Any] | None) -> gymnasium.Env[Any, Any]:
    made = make_env(env)
    return made if wrap is None else wrap(made)


def scripted(env: EnvConfig, kind: str, seed: int) -> Policy:
    """The environment's scripted expert or weak policy."""
    script = task_of(env).script
    if not script:
        raise ValueError(f"env.id={env.id} has no scripted expert: give demonstrations of your own, dataset=FOLDER")
    module, name = script.split(":")
    made: Policy = getattr(importlib.import_module(f"robo_reward.policies.{module}"), name)(kind, seed)
    return made


def first_seed(seed: int, split: str) -> int:
    """First initial-state seed of a kind of rollout; evaluation has its own, shared by all runs."""
    return (seed + 1) * SEED_SPAN + _OFFSETS[split]
