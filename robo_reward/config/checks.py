"""What settings of different sections cannot be together: refused before any work begins, in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from robo_reward.config.reward import HOP_MODELS, RIVALS, SIBLINGS, TALKERS
from robo_reward.settings import unknown

if TYPE_CHECKING:
    from robo_reward.config.command import Config

SEEING = ("residual_td3", "residual_sac")
"""Learners of `agent.kind` that know observation=pixels."""
PATHS = ("dataset", "keyframes", "store", "demo", "adapt_from", "outcomes", "preferences", "reward_model", "to")
"""Settings that name a file or folder."""


def check(config: Config) -> None:
    """Raises ValueError for the first pair of settings that contradict each other, with what to change."""
    _check_learner(config)
    _check_task_reward(config)
    _check_pixels(config)
    _check_person(config)
    _check_files(config)
    _check_labels(config)
    _check_reward(config)
    _check_rival(config)
    _check_remote(config)
    _check_grm(config)
    _check_suite(config)
    _check_robot(config)
    _check_runtime(config)


def _check_learner(config: Config) -> None:
    """What an agent needs of the others, or cannot do."""
    agent = config.agent
    for name, drawn in (("subset", agent.subset), ("actor_subset", agent.actor_subset)):
        if drawn is not None and drawn > agent.heads:
            raise ValueError(f"agent.{name}={drawn} exceeds agent.heads={agent.heads}")
    if agent.value_init == "potential" and config.shaping.kind != "potential":
        raise ValueError(
            f"agent.value_init=potential with shaping={config.shaping.kind}: the critics start at the potential only "
            "under shaping=potential, leave one of the two out"
        )
    if config.base.demos > config.collect.demos:
        raise ValueError(f"base.demos={config.base.demos} exceeds collect.demos={config.collect.demos}")
    if agent.kind == "residual_ppo" and config.env.count > 1:
        raise ValueError(f"agent=residual_ppo with env.count={config.env.count}: its updates count rollouts, set 1")
    if agent.kind == "residual_ppo" and config.hil.kind != "none":
        raise ValueError("agent=residual_ppo learns from its own actions only: leave hil= out")


def _check_person(config: Config) -> None:
    """What an operator cannot attend to, and what the console's pages show."""
    hil = config.hil
    if hil.kind != "none" and config.env.count > 1:
        raise ValueError(f"hil={hil.kind} with env.count={config.env.count}: an operator attends to one arm, set 1")
    if hil.kind in ("console", "device") and config.train.task_reward == "completion":
        raise ValueError(
            f"train.task_reward=completion with hil={hil.kind}: there labels say what was done, set hil.judge= instead"
        )
    seen = config.reward.kind in HOP_MODELS and config.shaping.kind != "none"
    if hil.judge == "reward" and hil.kind in ("console", "device") and not seen:
        raise ValueError("hil.judge=reward needs a reward model that follows an episode: reward=compact and a shaping")
    if hil.protocol != "takeovers" and hil.kind == "none":
        raise ValueError(f"hil.protocol={hil.protocol} is an operator's: add hil=simulated, console or device")
    if hil.protocol == "graded" and config.robot:
        raise ValueError("hil.protocol=graded repeats commands to come back to a place: no robot may do that blindly")
    if hil.protocol == "graded" and config.shaping.kind == "none":
        raise ValueError("hil.protocol=graded looks where the potential stalls: give a shaping other than none")
    if config.command == "console":
        for page, name, value in (("review", "store", config.store), ("keyframes", "dataset", config.dataset)):
            if config.console.page == page and value is None:
                raise ValueError(f"console.page={page} needs {name}=FOLDER: what there is to look at")


def _check_files(config: Config) -> None:
    """Files that another setting, or another command, reads."""
    for name in PATHS:
        if getattr(config, name) == "":
            raise ValueError(f"{name}= is empty: give a path, or leave it out")
    if config.adapt_from is not None and config.demo is None:
        raise ValueError(f"adapt_from={config.adapt_from} needs a demonstration: add demo=FOLDER or DATASET:EPISODE")
    served = "serve-reward and reward=remote reward.url="
    if config.demo is not None and config.command != "train-reward":
        how = "reward_model=" if _reads_reward_model(config) else served
        raise ValueError(f"demo= is for train-reward: give {config.command} the model that it leaves, by {how}")
    if config.reward_model is not None and not _reads_reward_model(config):
        raise ValueError(
            f"reward_model={config.reward_model} would not be read by this {config.command}, but by serve-reward, "
            "export to=, annotate with store= or to= and bench-reward with store= or video.CAMERA=; else a trained "
            f"model answers by {served}"
        )
    if config.outcomes is not None and config.store is None:
        raise ValueError(f"outcomes={config.outcomes} are those of a store's episodes: add store=FOLDER")
    if config.preferences is not None and config.store is None:
        raise ValueError(f"preferences={config.preferences} are those of a store's clips: add store=FOLDER")


def _reads_reward_model(config: Config) -> bool:
    """Whether this form of the command opens `reward_model=`, where all others make their reward model themselves."""
    by_command = {
        "serve-reward": True,
        "export": config.store is None and config.format != "grm",
        "annotate": config.store is not None or config.to is not None,
        "bench-reward": config.store is not None or bool(config.video),
    }
    return by_command.get(config.command, False)


def _check_labels(config: Config) -> None:
    """Where keyframes come from, and which frames there are to find them in."""
    source = config.label.source
    if not config.collect.all_frames and config.observation != "state" and config.dataset is None:
        raise ValueError(f"observation={config.observation} looks at every frame: set collect.all_frames=true")
    if not config.collect.all_frames and source != "predicates":
        raise ValueError(f"label.source={source} looks at every frame: set collect.all_frames=true")
    if source == "file" and config.keyframes is None:
        raise ValueError("label.source=file needs the file: add keyframes=FILE")
    if source not in ("predicates", "file") and config.keyframes is not None:
        raise ValueError(f"keyframes={config.keyframes} and label.source={source}: give one of them")


def _check_reward(config: Config) -> None:
    """Rivals and views that there are, and a model for the commands that need one."""
    for rival in config.reward.rivals:
        if rival not in RIVALS:
            raise ValueError(unknown("reward.rivals entry", rival, RIVALS))
    asking = ("train-reward", "bench-reward", "annotate", "serve-reward")
    if config.reward.kind == "oracle" and config.command in asking and config.reward_model is None:
        raise ValueError(f"reward=oracle is not trained, and {config.command} needs a model: use reward=compact")
    for view in config.reward.views or ():
        if view not in config.env.cameras:
            raise ValueError(unknown("reward.views entry", view, config.env.cameras))


def _check_task_reward(config: Config) -> None:
    """What would have no finite values, or no truth to learn from."""
    if config.agent.gamma == 1:
        raise ValueError("agent.gamma=1: values are bootstrapped at time-outs and would never settle, set it below 1")
    if config.train.task_reward == "environment":
        if config.train.done_at is not None:
            raise ValueError(f"train.done_at={config.train.done_at} is read with train.task_reward=completion: add it")
    elif config.reward.kind not in (*HOP_MODELS, "classifier"):
        raise ValueError(
            "train.task_reward=completion asks for a completion rule or a classifier of success, and "
            f"reward={config.reward.kind} is neither: use reward=compact or reward=classifier"
        )
    elif config.shaping.kind == "gated":
        raise ValueError("shaping=gated waits for the simulator's success: set train.task_reward=environment")


def _check_pixels(config: Config) -> None:
    """What an encoder that learns from the critics' errors cannot do."""
    if config.observation != "pixels":
        return
    if config.agent.kind not in SEEING:
        raise ValueError(
            f"agent.kind={config.agent.kind} does not learn to see: with observation=pixels use {' or '.join(SEEING)}"
        )
    if config.agent.cloning_updates:
        raise ValueError(
            f"agent.cloning_updates={config.agent.cloning_updates} comes before the encoder has learned to see: set "
            "0 with observation=pixels"
        )
    if config.env.image_size < 32:
        raise ValueError(f"env.image_size={config.env.image_size} is too small for observation=pixels: set 32 or more")


def _check_suite(config: Config) -> None:
    """What a suite would pass over in silence."""
    if not config.suite.tasks:
        return
    for name, value in {
        "dataset": config.dataset, "keyframes": config.keyframes, "reward_model": config.reward_model,
        "reward.rivals": config.reward.rivals, "reward.url": config.reward.url,
    }.items():  # fmt: skip
        if value:
            raise ValueError(
                f"{name}= with suite.tasks=[{','.join(config.suite.tasks)}]: a suite collects its own episodes and "
                "measures the compact model alone, leave one of the two out"
            )


def _check_robot(config: Config) -> None:
    """What needs a simulated world, or several."""
    if not config.robot:
        return
    if config.env.count > 1:
        raise ValueError(f"env.count={config.env.count} with robot=: there is one arm, set 1")
    changed = {"perturb.axes": config.perturb.axes, "env.randomise": config.env.randomise}
    for name, value in {**changed, "suite.tasks": config.suite.tasks}.items():
        if value:
            raise ValueError(f"{name}=[{','.join(value)}] with robot=: only a simulated world can be changed")
    if config.hil.kind in ("console", "device") and not config.robot.get("simulated"):
        raise ValueError(
            f"hil={config.hil.kind} with robot=: so far with robot=sim_arm alone; a real arm's scene is asked for at "
            "the terminal, not on the page"
        )
    if config.command == "console":
        raise ValueError("console shows the simulated world: leave robot= out")


def _check_remote(config: Config) -> None:
    """What cannot wait for a reward model elsewhere, or learn from it."""
    r = config.reward
    if r.teacher is not None and config.train.task_reward == "completion":
        raise ValueError(
            f"reward.teacher={r.teacher} with train.task_reward=completion: episodes end where the first model called "
            "them done, set train.task_reward=environment"
        )
    if r.teacher is not None and (r.kind != "compact" or config.shaping.kind in ("none", "gated", "contrast", "ra_bc")):
        raise ValueError(
            f"reward.teacher={r.teacher} teaches a compact model whose potential is used as it is: set "
            "reward=compact and shaping=potential"
        )
    if config.agent.kind == "residual_ppo":
        if r.teacher is not None:
            raise ValueError(
                f"reward.teacher={r.teacher} with agent=residual_ppo: it learns from its newest rollouts, all under "
                "one reward model, use another agent"
            )
        if r.kind == "remote" or (r.kind in TALKERS and r.url is not None):
            raise ValueError(
                f"agent=residual_ppo learns from its newest rollouts, which reward={r.kind} may annotate too late: use "
                "another agent"
            )


def _check_runtime(config: Config) -> None:
    """What needs the one process of runtime=local."""
    r = config.runtime
    if r.actor >= r.actors and config.command != "actor":  # an actor learns their number from the learner
        raise ValueError(f"runtime.actor={r.actor} with runtime.actors={r.actors}: must be below it")
    if (r.certificate is None) != (r.key is None):
        raise ValueError("runtime.certificate and runtime.key belong together: give both, or neither")
    if r.certificate is not None and config.command != "learner" and r.kind != "ray":
        raise ValueError(
            f"runtime.certificate={r.certificate} is for learner and runtime=ray: an actor takes runtime.root, and all "
            "else speaks within this computer only"
        )
    if r.root is not None and config.command != "actor":
        raise ValueError(f"runtime.root={r.root} is what an actor trusts: give it to actor")
    if r.kind == "local" and config.command != "learner":
        return
    who = "learner" if config.command == "learner" else f"runtime={r.kind}"
    if config.hil.kind != "none":
        raise ValueError(f"hil={config.hil.kind} with {who}: an operator attends to one process, use runtime=local")
    if config.agent.kind == "residual_ppo":
        raise ValueError(f"agent=residual_ppo with {who}: it learns from its newest policy only, use runtime=local")
    if config.env.count > 1:
        raise ValueError(f"env.count={config.env.count} with {who}: set runtime.actors={config.env.count} instead")
    if config.robot and r.kind == "ray":
        raise ValueError(
            "robot= with runtime=ray: Ray would start an actor where no robot is, use runtime=async, or learner "
            "and actor"
        )
    if config.robot and r.actors > 1 and config.command != "learner":
        raise ValueError(
            f"runtime.actors={r.actors} with robot=: there is one arm, set 1; for several use learner, and an "
            "actor for each"
        )


def _check_rival(config: Config) -> None:
    """A rival scores whole episodes: refused before it is trained for what asks about hops."""
    if config.reward.kind not in RIVALS:
        return
    asked: dict[str, Any] = {"demo": config.demo, "suite.tasks": config.suite.tasks}
    if config.reward_model is None:
        asked |= {"video": config.video}
        by_command: dict[str, dict[str, Any]] = {
            "annotate": {"to": config.to},
            "bench-reward": {"store": config.store},
            "serve-reward": {"serve": config.serve},
        }
        asked |= by_command.get(config.command, {})
    for name, value in asked.items():
        if value:
            raise ValueError(
                f"{name}= needs a reward model that answers hops, and reward={config.reward.kind} scores whole "
                "episodes only: use reward=compact"
            )


def _check_grm(config: Config) -> None:
    """A vision-language model: which one, and what it is not made for."""
    r = config.reward
    if r.kind not in ("grm", *SIBLINGS):
        if r.model is not None and r.kind != "remote":
            raise ValueError(f"reward.model={r.model} is read with reward=grm: add it")
        return
    if r.url is not None and r.kind not in TALKERS:
        raise ValueError(
            f"reward.url={r.url} is read with reward=remote and {', '.join(TALKERS)}; reward={r.kind} reads numbers "
            "that chat servers do not tell: run serve-reward for it, and ask that with reward=remote"
        )
    demo = config.demo if r.kind != "grm" else None  # which fine-tunes it
    for name, value in {"adapt_from": config.adapt_from, "suite.tasks": config.suite.tasks, "demo": demo}.items():
        if value:
            raise ValueError(f"{name}= trains the compact model only: leave it out, or use reward=compact")
    if config.tune.from_scratch and r.model is not None:
        raise ValueError(f"tune.from_scratch=true with reward.model={r.model}: leave one of the two out")
