"""Lines that `robo-reward COMMAND --help` shows; a test composes each of them."""

from __future__ import annotations

EXAMPLES_OF: dict[str, tuple[tuple[str, str], ...]] = {
    "collect": (
        ("collect", "demonstrations and rollouts of the default task"),
        ("collect experiment=lift collect.demos=20", "of another task"),
        ("collect robot=sim_arm teleop=keyboard to=pegs", "a person drives, a LeRobotDataset is recorded"),
    ),
    "label": (
        ("label", "by the simulator's stages"),
        ("label dataset=pens keyframes=keyframes.json", "of your episodes, by a person's keyframes"),
    ),
    "train-reward": (
        ("train-reward dataset=pens env.cameras=[top,wrist] env.image_size=96", "your episodes and cameras"),
        ("train-reward demo=pens:3 adapt_from=runs/train-reward-default-s0-0123", "a new task from one demonstration"),
    ),
    "bench-reward": (
        ("bench-reward", "against controls, on held-out episodes"),
        ("bench-reward suite=sim", "on four tasks"),
        ("bench-reward reward_model=runs/train-reward-default-s0-0123 video.front=film.mp4", "score a film"),
    ),
    "annotate": (
        ("annotate dataset=pens to=pens_scored", "a copy with progress columns, for any trainer"),
        ("annotate store=runs/stages/train-0123 reward_model=runs/new", "a run's episodes by a newer model"),
    ),
    "serve-reward": (("serve-reward reward_model=runs/train-reward-default-s0-0123", "to programs on this machine"),),
    "train-base": (("train-base base=act", "another base"),),
    "train": (
        ("train experiment=smoke", "everything in its smallest size"),
        ("train shaping=none", "the sparse reward: what is the reward model worth?"),
        ("train -m seed=0,1,2", "one run after the other"),
        ("train hil=console", "with you at the console"),
        ("train hil=device", "with you at a gamepad"),
        ("train experiment=sim_arm", "on a robot: here a simulated arm over ROS 2's wire"),
    ),
    "learner": (("learner runtime.listen=127.0.0.1:8900", "train with actors that come from elsewhere"),),
    "actor": (("actor runtime.connect=127.0.0.1:8900", "play for that learner"),),
    "evaluate": (
        ("evaluate perturb.axes=[friction,lighting]", "in perturbed worlds too"),
        ("evaluate policies=base:runs/train-A,runs/train-A,runs/train-B", "finished runs, from the same states"),
        ("evaluate plan=0.8,0.95", "how many paired rollouts tell these apart"),
        ("evaluate robot=sim_arm policies=runs/train-A,runs/train-B", "blind, on a robot"),
        ("evaluate compare=runs/sim,runs/real", "does the simulation predict the robot"),
    ),
    "identify": (("identify robot=sim_arm to=arm.json", "the simulation's arm made like the robot's, for env.arm="),),
    "console": (("console console.policy=trained", "watch the trained policy and take over"),),
    "export": (
        ("export to=robot", "policy and reward model as graphs"),
        ("export store=runs/stages/train-0123 to=experience", "a run's episodes as a LeRobotDataset"),
    ),
    "runs": (
        ("runs", "what has been run"),
        ("runs to=comparison", "learning curves in one plot, and tables as CSV"),
    ),
    "doctor": (
        ("doctor", "is this machine ready?"),
        ("doctor store=runs/stages/train-0123 repair=true", "check and repair what a run stored"),
    ),
}


def examples(command: str) -> str:
    """The lines for a command, empty where there are none."""
    rows = EXAMPLES_OF.get(command, ())
    width = max((len(words) for words, _ in rows), default=0)
    return "\n".join(f"  robo-reward {words.ljust(width)}  {why}" for words, why in rows)
