"""Every setting, its default and its allowed range, as frozen dataclasses; Hydra composes `conf/` on top of them.

A new setting is one line in the section's file: Hydra knows it from then on, and a yaml in `conf/` names it only to
depart from the default. Wrong keys, types and ranges raise ValueError in one line that says what is allowed.
"""

from __future__ import annotations

import json
import typing
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from robo_reward.config.data import AnnotateConfig, CollectConfig, EnvConfig, LabelConfig, RunConfig
from robo_reward.config.evaluation import EvaluateConfig, PerturbConfig
from robo_reward.config.learner import AgentConfig, BaseConfig, ShapingConfig, TrainConfig
from robo_reward.config.person import ConsoleConfig, HilConfig
from robo_reward.config.reward import (
    HOP_MODELS,
    RIVALS,
    SIBLINGS,
    AdaptConfig,
    CompletionConfig,
    RewardConfig,
    ServeConfig,
    SuiteConfig,
    TuneConfig,
)
from robo_reward.config.runtime import REACHED, RuntimeConfig
from robo_reward.settings import build, choice, number, settings_digest, unknown

SEEING = ("residual_td3", "residual_sac")
"""Learners of `agent.kind` that know observation=pixels."""

__all__ = [
    "HOP_MODELS",
    "REACHED",
    "RIVALS",
    "SIBLINGS",
    "AdaptConfig",
    "AgentConfig",
    "AnnotateConfig",
    "BaseConfig",
    "CollectConfig",
    "CompletionConfig",
    "Config",
    "ConsoleConfig",
    "EnvConfig",
    "EvaluateConfig",
    "HilConfig",
    "LabelConfig",
    "PerturbConfig",
    "RewardConfig",
    "RunConfig",
    "RuntimeConfig",
    "ServeConfig",
    "ShapingConfig",
    "SuiteConfig",
    "TrainConfig",
    "TuneConfig",
    "from_hydra",
    "load_config",
    "own_files",
    "register",
]


@dataclass(frozen=True)
class Config:
    """One command's whole configuration."""

    command: str = "train"
    """Set by the command line."""
    name: str = "default"
    """The experiment's name; part of the run folder's name."""
    seed: int = number(0, low=0)
    """Of data, training and the learner; evaluation states do not depend on it."""
    quiet: bool = False
    """No progress bars and no reports on the terminal."""
    dataset: str | None = None
    """Your own data: folder of a LeRobotDataset, robomimic's .hdf5 or HIL-SERL's .pkl file; null collects."""
    keyframes: str | None = None
    """JSON file of keyframes to use in place of the simulator's stage predicates."""
    store: str | None = None
    """Transition store, or a training stage's folder that holds one: for annotate, bench-reward, doctor and export."""
    demo: str | None = None
    """One demonstration for `train-reward`: a folder with a video a camera and annotated_keyframes.json, or
    DATASET:EPISODE, an episode of a LeRobotDataset by its number from 0."""
    adapt_from: str | None = None
    """Folder of a trained reward model, or of the run that trained it, which `train-reward` adapts to demo=; null: a
    new model from the demonstration alone."""
    outcomes: str | None = None
    """JSON file of an operator's outcomes, episode id -> success, partial or failure, that `bench-reward` with store=
    counts in place of the recorded ones."""
    preferences: str | None = None
    """The console's preferences.jsonl, which of two clips a person preferred: `bench-reward` with store= says how often
    the reward model agrees."""
    observation: str = choice("state", "state", "features", "pixels")
    """What learned policies see: state, what the arm knows and the task's noisy estimates; features, what the arm knows
    and the trained reward model's view of the cameras, without any estimate; pixels, for the learner, what the arm
    knows and the cameras themselves, while the base policy sees what it sees under state."""
    reward_model: str | None = None
    """Folder of a trained reward model, or of the run that trained it, for `serve-reward`, `annotate` with store= or
    to= and `bench-reward` with store= or video.CAMERA=; null: the one that the settings train."""
    to: str | None = None
    """Folder that `export` writes, of the copy that `annotate` adds its columns to (where an interrupted one is gone on
    with or made anew), or of the model that `bench-reward` with store= recalibrates."""
    format: str = choice("lerobot", "lerobot", "rerun", "grm")
    """What `export` writes of episodes: those of a store as a LeRobotDataset, or to=FILE.rrd to look at in Rerun's
    viewer; grm, questions with answers about the dataset's, in the released training format of Robo-Dopamine's general
    reward models."""
    instruction: str | None = None
    """What the robot is told, for `bench-reward` with video.CAMERA= and `train-reward` with a demo= of videos, and in
    place of the dataset's own for `annotate` with to= and demo=DATASET:EPISODE."""
    robot: Mapping[str, Any] = field(default_factory=dict)
    """Robot that stands in for the simulated world in `collect`, `train` and `evaluate`: robot=NAME of `conf/robot`;
    its settings are those of docs/robot.md, such as robot.domain=3. Empty: none."""
    video: Mapping[str, str] = field(default_factory=dict)
    """Files that `bench-reward` scores, one a camera: video.front=a.mp4 video.side=b.mp4"""
    repair: bool = False
    """Whether `doctor store=` puts a repaired store in the place of a damaged one, which it keeps."""
    run: RunConfig = field(default_factory=RunConfig)
    env: EnvConfig = field(default_factory=EnvConfig)
    collect: CollectConfig = field(default_factory=CollectConfig)
    label: LabelConfig = field(default_factory=LabelConfig)
    reward: RewardConfig = field(default_factory=RewardConfig)
    completion: CompletionConfig = field(default_factory=CompletionConfig)
    shaping: ShapingConfig = field(default_factory=ShapingConfig)
    base: BaseConfig = field(default_factory=BaseConfig)
    agent: AgentConfig = field(default_factory=AgentConfig)
    serve: ServeConfig = field(default_factory=ServeConfig)
    adapt: AdaptConfig = field(default_factory=AdaptConfig)
    tune: TuneConfig = field(default_factory=TuneConfig)
    annotate: AnnotateConfig = field(default_factory=AnnotateConfig)
    hil: HilConfig = field(default_factory=HilConfig)
    console: ConsoleConfig = field(default_factory=ConsoleConfig)
    suite: SuiteConfig = field(default_factory=SuiteConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    perturb: PerturbConfig = field(default_factory=PerturbConfig)

    def __post_init__(self) -> None:
        if self.agent.subset > self.agent.heads:
            raise ValueError(f"agent.subset={self.agent.subset} exceeds agent.heads={self.agent.heads}")
        self._check_task_reward()
        if self.agent.value_init == "potential" and self.shaping.kind != "potential":
            raise ValueError(
                f"agent.value_init=potential with shaping={self.shaping.kind}: the critics start at the potential only "
                "under shaping=potential, leave one of the two out"
            )
        if self.base.demos > self.collect.demos:
            raise ValueError(f"base.demos={self.base.demos} exceeds collect.demos={self.collect.demos}")
        if self.hil.kind != "none" and self.env.count > 1:
            count = self.env.count
            raise ValueError(f"hil={self.hil.kind} with env.count={count}: an operator attends to one arm, set 1")
        if self.hil.protocol != "takeovers" and self.hil.kind != "simulated":
            raise ValueError(f"hil.protocol={self.hil.protocol} is the simulated operator's: add hil=simulated")
        if self.hil.protocol == "graded" and self.robot:
            raise ValueError(
                "hil.protocol=graded repeats commands to come back to a place: no robot may do that blindly"
            )
        if self.hil.protocol == "graded" and self.shaping.kind == "none":
            raise ValueError("hil.protocol=graded looks where the potential stalls: give a shaping other than none")
        if self.command == "console":
            for page, name, value in (("review", "store", self.store), ("keyframes", "dataset", self.dataset)):
                if self.console.page == page and value is None:
                    raise ValueError(f"console.page={page} needs {name}=FOLDER: what there is to look at")
        if self.agent.kind == "residual_ppo" and self.env.count > 1:
            raise ValueError(f"agent=residual_ppo with env.count={self.env.count}: its updates count rollouts, set 1")
        if self.agent.kind == "residual_ppo" and self.hil.kind != "none":
            raise ValueError("agent=residual_ppo learns from its own actions only: leave hil= out")
        if self.adapt_from is not None and self.demo is None:
            raise ValueError(f"adapt_from={self.adapt_from} needs a demonstration: add demo=FOLDER or DATASET:EPISODE")
        if self.demo is not None and self.command != "train-reward":
            raise ValueError(f"demo= is for train-reward: give {self.command} the model that it leaves, reward_model=")
        if self.outcomes is not None and self.store is None:
            raise ValueError(f"outcomes={self.outcomes} are those of a store's episodes: add store=FOLDER")
        if self.preferences is not None and self.store is None:
            raise ValueError(f"preferences={self.preferences} are those of a store's clips: add store=FOLDER")
        if not self.collect.all_frames and self.observation != "state" and self.dataset is None:
            raise ValueError(f"observation={self.observation} looks at every frame: set collect.all_frames=true")
        if self.observation == "pixels":
            self._check_pixels()
        if not self.collect.all_frames and self.label.source != "predicates":
            raise ValueError(f"label.source={self.label.source} looks at every frame: set collect.all_frames=true")
        if self.label.source == "file" and self.keyframes is None:
            raise ValueError("label.source=file needs the file: add keyframes=FILE")
        if self.label.source not in ("predicates", "file") and self.keyframes is not None:
            raise ValueError(f"keyframes={self.keyframes} and label.source={self.label.source}: give one of them")
        for rival in self.reward.rivals:
            if rival not in RIVALS:
                raise ValueError(unknown("reward.rivals entry", rival, RIVALS))
        self._check_rival()
        self._check_remote()
        self._check_grm()
        self._check_suite()
        self._check_robot()
        self._check_runtime()
        asking = ("train-reward", "bench-reward", "annotate", "serve-reward")
        makes_model = self.command in asking and self.reward_model is None
        if makes_model and self.reward.kind == "oracle":
            raise ValueError(f"reward=oracle is not trained, and {self.command} needs a model: use reward=compact")
        if self.reward.views is not None:
            for view in self.reward.views:
                if view not in self.env.cameras:
                    raise ValueError(unknown("reward.views entry", view, self.env.cameras))

    def _check_task_reward(self) -> None:
        """What would have no finite values, or no truth to learn from."""
        if self.agent.gamma == 1:
            raise ValueError(
                "agent.gamma=1: values are bootstrapped at time-outs and would never settle, set it below 1"
            )
        if self.train.task_reward == "environment":
            if self.train.done_at is not None:
                raise ValueError(
                    f"train.done_at={self.train.done_at} is read with train.task_reward=completion: add it"
                )
        elif self.reward.kind not in (*HOP_MODELS, "classifier"):
            raise ValueError(
                "train.task_reward=completion asks for a completion rule or a classifier of success, and "
                f"reward={self.reward.kind} is neither: use reward=compact or reward=classifier"
            )
        elif self.shaping.kind == "gated":
            raise ValueError("shaping=gated waits for the simulator's success: set train.task_reward=environment")

    def _check_pixels(self) -> None:
        """What an encoder that learns from the critics' errors cannot do."""
        if self.agent.kind not in SEEING:
            raise ValueError(
                f"agent.kind={self.agent.kind} does not learn to see: with observation=pixels use {' or '.join(SEEING)}"
            )
        if self.agent.cloning_updates:
            raise ValueError(
                f"agent.cloning_updates={self.agent.cloning_updates} comes before the encoder has learned to see: set "
                "0 with observation=pixels"
            )
        if self.env.image_size < 32:
            raise ValueError(
                f"env.image_size={self.env.image_size} is too small for observation=pixels: set 32 or more"
            )

    def _check_suite(self) -> None:
        """What a suite would pass over in silence."""
        for name, value in {
            "dataset": self.dataset, "keyframes": self.keyframes, "reward_model": self.reward_model,
            "reward.rivals": self.reward.rivals, "reward.url": self.reward.url,
        }.items():  # fmt: skip
            if self.suite.tasks and value:
                raise ValueError(
                    f"{name}= with suite.tasks=[{','.join(self.suite.tasks)}]: a suite collects its own episodes and "
                    "measures the compact model alone, leave one of the two out"
                )

    def _check_robot(self) -> None:
        """What needs a simulated world, or several."""
        if not self.robot:
            return
        if self.env.count > 1:
            raise ValueError(f"env.count={self.env.count} with robot=: there is one arm, set 1")
        changed = {"perturb.axes": self.perturb.axes, "env.randomise": self.env.randomise}
        for name, value in {**changed, "suite.tasks": self.suite.tasks}.items():
            if value:
                raise ValueError(f"{name}=[{','.join(value)}] with robot=: only a simulated world can be changed")
        if self.hil.kind == "console" and not self.robot.get("simulated"):
            raise ValueError(
                "hil=console with robot=: so far with robot=sim_arm alone; a real arm's scene is asked for at the "
                "terminal, not on the page"
            )
        if self.command == "console":
            raise ValueError("console shows the simulated world: leave robot= out")

    def _check_remote(self) -> None:
        """What cannot wait for a reward model elsewhere, or learn from it."""
        r = self.reward
        if r.teacher is not None and (
            r.kind != "compact" or self.shaping.kind in ("none", "gated", "contrast", "ra_bc")
        ):
            raise ValueError(
                f"reward.teacher={r.teacher} teaches a compact model whose potential is used as it is: set "
                "reward=compact and shaping=potential"
            )
        if r.kind == "remote" and self.agent.kind == "residual_ppo":
            raise ValueError(
                "agent=residual_ppo learns from its newest rollouts, which reward=remote may annotate too late: use "
                "another agent"
            )

    def _check_runtime(self) -> None:
        """What needs the one process of runtime=local."""
        r = self.runtime
        if r.actor >= r.actors and self.command != "actor":  # an actor learns their number from the learner
            raise ValueError(f"runtime.actor={r.actor} with runtime.actors={r.actors}: must be below it")
        if (r.certificate is None) != (r.key is None):
            raise ValueError("runtime.certificate and runtime.key belong together: give both, or neither")
        if r.certificate is not None and self.command != "learner" and r.kind != "ray":
            raise ValueError(
                f"runtime.certificate={r.certificate} is for learner and runtime=ray: an actor takes runtime.root, and "
                "all else speaks within this computer only"
            )
        if r.root is not None and self.command != "actor":
            raise ValueError(f"runtime.root={r.root} is what an actor trusts: give it to actor")
        if r.kind == "local" and self.command != "learner":
            return
        who = "learner" if self.command == "learner" else f"runtime={r.kind}"
        if self.hil.kind != "none":
            raise ValueError(f"hil={self.hil.kind} with {who}: an operator attends to one process, use runtime=local")
        if self.agent.kind == "residual_ppo":
            raise ValueError(f"agent=residual_ppo with {who}: it learns from its newest policy only, use runtime=local")
        if self.env.count > 1:
            raise ValueError(f"env.count={self.env.count} with {who}: set runtime.actors={self.env.count} instead")
        if self.robot and r.kind == "ray":
            raise ValueError(
                "robot= with runtime=ray: Ray would start an actor where no robot is, use runtime=async, or learner "
                "and actor"
            )
        if self.robot and r.actors > 1 and self.command != "learner":
            raise ValueError(
                f"runtime.actors={r.actors} with robot=: there is one arm, set 1; for several use learner, and an "
                "actor for each"
            )

    def _check_rival(self) -> None:
        """A rival scores whole episodes: refused before it is trained for what asks about hops."""
        if self.reward.kind not in RIVALS:
            return
        asked: dict[str, Any] = {"demo": self.demo, "suite.tasks": self.suite.tasks}
        if self.reward_model is None:
            asked |= {"video": self.video}
            by_command: dict[str, dict[str, Any]] = {
                "annotate": {"to": self.to},
                "bench-reward": {"store": self.store},
                "serve-reward": {"serve": self.serve},
            }
            asked |= by_command.get(self.command, {})
        for name, value in asked.items():
            if value:
                raise ValueError(
                    f"{name}= needs a reward model that answers hops, and reward={self.reward.kind} scores whole "
                    "episodes only: use reward=compact"
                )

    def _check_grm(self) -> None:
        """A vision-language model: which one, and what it is not made for."""
        r = self.reward
        if r.kind not in ("grm", *SIBLINGS):
            if r.model is not None and r.kind != "remote":
                raise ValueError(f"reward.model={r.model} is read with reward=grm: add it")
            return
        demo = self.demo if r.kind != "grm" else None  # which fine-tunes it
        for name, value in {"adapt_from": self.adapt_from, "suite.tasks": self.suite.tasks, "demo": demo}.items():
            if value:
                raise ValueError(f"{name}= trains the compact model only: leave it out, or use reward=compact")
        if self.tune.from_scratch and r.model is not None:
            raise ValueError(f"tune.from_scratch=true with reward.model={r.model}: leave one of the two out")


def register(command: str) -> None:
    """Make the command's defaults and the `settings_digest` resolver known to Hydra; harmless when repeated."""
    from hydra.core.config_store import ConfigStore
    from omegaconf import DictConfig, OmegaConf

    def digest(_root_: DictConfig) -> str:
        sections = {str(key): value for key, value in _root_.items_ex(resolve=False) if key not in ("run", "hydra")}
        plain: dict[str, Any] = {
            k: OmegaConf.to_container(v) if OmegaConf.is_config(v) else v for k, v in sections.items()
        }
        plain["runtime"] = {name: value for name, value in plain["runtime"].items() if name not in REACHED}
        return settings_digest(plain)

    OmegaConf.register_new_resolver("settings_digest", digest, replace=True)
    defaults = json.loads(json.dumps(asdict(Config(command=command))))  # OmegaConf knows lists, not tuples
    for key in ("name", "dir", "stages"):
        defaults["run"][key] = "???"
    node = OmegaConf.create(defaults)
    # Cameras have any names; a robot's settings are checked where they are known.
    for section in (node.video, node.robot, node.base["names"]):
        OmegaConf.set_struct(section, False)
    ConfigStore.instance().store(name="defaults", node=node)


def from_hydra(composed: Any) -> Config:
    """The dataclasses from Hydra's composition; its own `hydra` node is passed over."""
    from omegaconf import OmegaConf

    plain = typing.cast("dict[str, Any]", OmegaConf.to_container(composed, resolve=True, throw_on_missing=True))
    plain.pop("hydra", None)
    return build(Config, plain)


def own_files(overrides: Sequence[str]) -> list[str]:
    """The overrides as Hydra takes them, which knows only the files of conf/: `robot=FILE.yaml`, and `reward=FOLDER`
    of a trained reward model, which is `reward_model=FOLDER`; `perturb=AXIS:SEVERITY` or `perturb=AXIS`;
    `model=FOLDER`, which is `reward.model=FOLDER`; and the sections that `plan=`, `compare=` and `policies=` belong
    to."""
    words = []
    for word in overrides:
        name, _, value = word.partition("=")
        if name == "robot" and value.endswith(".yaml"):
            word = f"robot={{file:'{value}'}}"
        elif name == "reward" and "/" in value:
            word = f"reward_model={value}"
        elif name in ("plan", "compare", "policies") and value:
            word = f"evaluate.{name}=[{value.strip('[]')}]"
        elif name == "perturb" and value:
            axis, colon, severity = value.partition(":")
            words += [f"perturb.severities=[{severity}]"] * bool(colon)
            word = f"perturb.axes=[{axis}]"
        elif name == "model":
            word = f"reward.model={value}"
        words.append(word)
    return words


def load_config(overrides: Sequence[str] = (), command: str = "train") -> Config:
    """Compose as the command line would, for scripts, notebooks and tests.

    Args:
        overrides: Hydra overrides such as `"agent.heads=4"` or `"shaping=none"`.
        command: the command whose configuration it is.
    """
    from hydra import compose, initialize_config_module

    register(command)
    with initialize_config_module("robo_reward.conf", version_base="1.3"):
        return from_hydra(compose("config", own_files(overrides)))
