"""Every setting, its default and its allowed range, as frozen dataclasses; Hydra composes `conf/` on top of them.

A new setting is one line here: Hydra knows it from then on, and a yaml in `conf/` names it only to depart from the
default. Wrong keys, types and ranges raise ValueError in one line that says what is allowed.
"""

from __future__ import annotations

import json
import typing
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from robo_reward.settings import build, choice, number, settings_digest, unknown


@dataclass(frozen=True)
class RunConfig:
    """Where a run leaves its folder, and where finished stages are kept for every run to share."""

    root: str = "runs"
    """Folder of everything that is written."""
    name: str = "run"
    """The run's folder below root; follows the settings, so the same command resumes."""
    dir: str = "runs/run"
    """The run folder itself."""
    stages: str = "runs/stages"
    """Folder of the finished stages, shared by runs."""


@dataclass(frozen=True)
class EnvConfig:
    """The world."""

    id: str = "robo_reward/PegInsert-v0"
    """Gymnasium id of the world."""
    cameras: tuple[str, ...] = ("front", "side", "wrist")
    """Views that are recorded, of those the world has."""
    image_size: int = number(84, low=16, high=1024)
    """[px], square"""
    horizon: int = number(120, low=1)
    """[steps]"""
    count: int = number(1, low=1, high=64)
    """Environments that run at once, each a process; recorded and evaluated episodes do not depend on it."""


@dataclass(frozen=True)
class CollectConfig:
    """Rollouts that are recorded, by who acts and what for; every one of them is counted in the results."""

    demos: int = number(20, low=1)
    """Successes of the scripted expert."""
    weak: int = number(60, low=0)
    """Rollouts of the weak policy, failures mostly."""
    validation: int = number(150, low=0)
    """Rollouts that the completion threshold is set on: one success of the expert, then two failures of the weak
    policy, and so on."""
    test: int = number(60, low=0)
    """Rollouts that only the benchmark sees, of the same kinds in turn."""
    query_every: int = number(4, low=1)
    """[steps] between the frames that the reward model sees"""
    all_frames: bool = True
    """Whether every frame is recorded, in LeRobotDatasets; false keeps those that the reward model sees, in transition
    stores, in half the time or less where rendering is slow."""


@dataclass(frozen=True)
class LabelConfig:
    """Where keyframes come from."""

    source: str = choice("predicates", "predicates", "file", "subtask", "uvd", "events", "variance")
    """The simulator's stage predicates, `keyframes=FILE`, a dataset's subtask column, or found in pixels or signals."""
    apart: int = number(5, low=1)
    """[steps] that uvd, events and variance leave between two keyframes"""
    segments: int | None = number(None, low=1)
    """Sub-tasks that variance divides every success into; null: as many as the task has stages."""
    model: str | None = None
    """Folder of a trained reward model whose frame features uvd and variance compare; null: they compare pixels."""
    pictures: int = number(6, low=0)
    """First episodes that the label command draws: the frames at the keyframes and the potential."""


RIVALS = (
    "sarm", "rewind", "progressor", "vlac", "graded", "classifier", "transport", "feature_distance", "pixel_distance",
)  # fmt: skip
"""Those of `robo_reward.progress.rivals`."""


@dataclass(frozen=True)
class RewardConfig:
    """The reward model."""

    kind: str = choice("compact", "compact", "oracle", *RIVALS)
    """compact learns from images; oracle is the simulator's own progress; the others are rivals from the literature,
    trained on the same episodes."""
    rivals: tuple[str, ...] = ()
    """Rivals that `bench-reward` trains too and puts into its table, such as [sarm,rewind]."""
    fusion: str = choice("kalman", "average", "consistency", "kalman", "incremental", "forward", "backward")
    """How the three perspectives become one potential; the last three use a single one."""
    target: str = choice("hop", "hop", "absolute", "difference")
    """What the network learns of two frames: the hop, the later one's progress, or the plain difference."""
    labels: str = choice("steps", "steps", "frames")
    """Sub-tasks share the progress equally, or, as a control, it is linear from a success's first frame to its last."""
    swap_references: float = number(0.75, low=0, high=1)
    """Share of a success's visits in training whose references are another demonstration's, not its own."""
    failures: bool = True
    """Whether failed rollouts are trained on; the completion threshold is set with them in any case."""
    seed: int = number(0, low=0)
    """Of weights and pairs; apart from the run's seed."""
    steps: int = number(600, low=1)
    """Training steps."""
    learning_rate: float = number(2e-3, above=0)
    """Peak of the schedule."""
    views: tuple[str, ...] | None = None
    """Cameras the model sees; null: all of the environment's."""


@dataclass(frozen=True)
class AdaptConfig:
    """Fine-tuning of a reward model to the one demonstration of `train-reward adapt_from= demo=`."""

    steps: int = number(200, low=1)
    """Training steps."""
    learning_rate: float = number(5e-4, above=0)
    """Peak of the schedule."""
    replay: int = number(16, low=0)
    """Episodes of the model's own training data that are replayed, half of them demonstrations, where they still lie
    beside it; else, and with 0, its reference pictures are."""


@dataclass(frozen=True)
class CompletionConfig:
    """When the reward model calls a task done."""

    sustain: int = number(2, low=1)
    """Queries in a row that have to agree."""
    false_success_bound: float = number(0.05, above=0, high=0.999)
    """Largest share of failures that may be called done; 59 failures or more are needed to show 0.05."""
    confidence: float = number(0.95, above=0, high=0.999)
    """With which that is said of failures like those of the validation split."""


@dataclass(frozen=True)
class AnnotateConfig:
    """The columns that `annotate` adds to a dataset with to=."""

    chunk: int = number(8, low=1)
    """[rows] over which `ra_bc_weight` measures the progress gained: the length of the chunks of the policy that is
    trained with it."""


@dataclass(frozen=True)
class SuiteConfig:
    """What `bench-reward` measures beside the environment's own task."""

    tasks: tuple[str, ...] = ()
    """Names of `conf/env/` that are measured in one table; those with the same cameras share one reward model."""


@dataclass(frozen=True)
class ShapingConfig:
    """How the potential enters the reward."""

    kind: str = choice("potential", "none", "potential", "naive")
    """potential leaves the best policy as it is; the others are controls."""
    scale: float = number(1.0, low=0)
    """Multiplies the potential; it remains a potential."""


@dataclass(frozen=True)
class BaseConfig:
    """The frozen base policy."""

    kind: str = choice("cloning", "cloning", "search", "zero")
    """cloning, or a control."""
    demos: int = number(8, low=1)
    """Few on purpose: what makes the base weak."""
    steps: int = number(2000, low=1)
    """Training steps."""
    batch: int = number(128, low=1)
    """Rows a step."""
    learning_rate: float = number(1e-3, above=0)
    """Start of a cosine decay."""
    hidden: int = number(256, low=1)
    """Width of the two hidden layers."""
    chunk: int = number(8, low=1)
    """[steps] predicted at once"""


@dataclass(frozen=True)
class AgentConfig:
    """The residual learner."""

    kind: str = choice("residual_td3", "residual_td3")
    gamma: float = number(0.99, above=0, high=1)
    """Discount a step."""
    n_step: int = number(3, low=1)
    """Steps of return before the bootstrap."""
    heads: int = number(5, low=2)
    """Critics."""
    subset: int = number(2, low=1)
    """Heads drawn for each target, whose smallest value counts."""
    hidden: int = number(128, low=1)
    """Width of the two hidden layers."""
    batch: int = number(128, low=2)
    """Half demonstrations, half online."""
    learning_rate: float = number(1e-3, above=0)
    """Of the critics."""
    actor_learning_rate: float = number(1e-3, above=0)
    """Of the actor."""
    tau: float = number(0.005, above=0, high=1)
    """Share by which the targets follow at every update."""
    average_rate: float = number(5e-4, above=0, high=1)
    """Share by which the deployed actor, a long average, follows at every actor update."""
    residual_scale: float = number(0.4, above=0, high=2)
    """Largest residual, in action units."""
    updates_per_step: int = number(4, low=1)
    """Critic updates for each environment step."""
    actor_every: int = number(2, low=1)
    """Critic updates for each actor update."""
    exploration_noise: float = number(0.05, low=0)
    """Standard deviation, in action units."""
    target_noise: float = number(0.1, low=0)
    """Standard deviation of the noise on target actions, before residual_scale."""
    target_noise_clip: float = number(0.3, low=0)
    """Largest such noise."""
    gradient_clip: float = number(1.0, above=0)
    """Largest norm of a gradient."""
    pessimism: float = number(1.0, low=0)
    """Standard deviations over the heads that the actor's objective subtracts."""
    evaluation_noise: float = number(0.05, low=0)
    """Dither of the evaluated and deployed policy, in action units."""
    noise_correlation: float = number(0.8, low=0, high=0.999)
    """Of exploration and dither, from one step to the next."""
    imitation: float = number(1.0, low=0)
    """Weight of the imitation term on demonstrated steps."""
    replay_capacity: int = number(200_000, low=1)
    """[observations]; the oldest episodes make room"""
    priority: float = number(0.0, low=0, high=1)
    """Exponent of prioritised sampling; 0 samples uniformly."""


@dataclass(frozen=True)
class HilConfig:
    """A person in the loop of `train`; the times of the simulated one are the task's own."""

    kind: str = choice("none", "none", "simulated", "console")
    """simulated: the scripted expert takes over where the policy gets stuck, and gives the arm back; console: you do,
    in the browser."""
    judge: str = choice("person", "person", "env", "classifier")
    """Who judges the episodes of hil=console: you, each of them; or, where you do not, the world or a classifier of
    success that your labels train, and then the next episode starts by itself."""
    classifier_every: int = number(10, low=1)
    """Episodes that you judged, with hil.judge=classifier, between its trainings"""
    classifier_steps: int = number(150, low=1)
    """Steps of each"""
    protocol: str = choice("takeovers", "takeovers", "demonstrations", "graded")
    """What the simulated operator does: take over, show whole episodes first, or show some and then return to where the
    policy gets stuck."""
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


@dataclass(frozen=True)
class TrainConfig:
    """The training run."""

    rollouts: int = number(150, low=1)
    """Online episodes."""
    warmup_rollouts: int = number(10, low=0)
    """First of them, of base plus noise, before the actor moves."""
    warmup_updates: int = number(1500, low=0)
    """Critic-only updates at the end of the warm-up."""
    evaluate_every: int = number(10, low=1)
    """[rollouts]"""
    evaluate_episodes: int = number(40, low=1)
    """Episodes for each point of the learning curve."""
    evaluate_seed: int = number(90_000, low=0)
    """First of the initial states that the learning curve is measured on [never used in training]"""


@dataclass(frozen=True)
class EvaluateConfig:
    """The final evaluation."""

    episodes: int = number(100, low=1)
    """Initial states from which base and trained policy both run."""
    first_seed: int = number(100_000, low=0)
    """Seeds of the paired initial states: first_seed, first_seed + 1, ... [never used in training]"""
    videos: int = number(4, low=0)
    """Filmed episodes, base and trained in turn."""


@dataclass(frozen=True)
class PerturbConfig:
    """Departures from the training world that `evaluate` measures as well, one axis at a time."""

    axes: tuple[str, ...] = ()
    """Of `robo_reward.envs.perturbation.AXES`: friction, mass, size, layout, perception, observation_latency,
    action_latency, control_noise; and what only cameras see: lighting, background, camera_pose, camera_noise,
    camera_dropped."""
    severities: tuple[int, ...] = number((1, 2, 3), low=1, high=3)
    """How far; each is a row."""
    filmed: int = number(20, low=1)
    """Episodes for an axis that only cameras see."""


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
    reward_model: str | None = None
    """Folder of a trained reward model, or of the run that trained it, for `annotate` with store= or to= and
    `bench-reward` with store= or video.CAMERA=; null: the one that the settings train."""
    to: str | None = None
    """Folder of the LeRobotDataset that `export` writes or of the copy that `annotate` adds its columns to (where an
    interrupted one is gone on with or made anew), or of the model that `bench-reward` with store= recalibrates."""
    instruction: str | None = None
    """What the robot is told, for `bench-reward` with video.CAMERA= and `train-reward` with a demo= of videos, and in
    place of the dataset's own for `annotate` with to= and demo=DATASET:EPISODE."""
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
    adapt: AdaptConfig = field(default_factory=AdaptConfig)
    annotate: AnnotateConfig = field(default_factory=AnnotateConfig)
    hil: HilConfig = field(default_factory=HilConfig)
    console: ConsoleConfig = field(default_factory=ConsoleConfig)
    suite: SuiteConfig = field(default_factory=SuiteConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    perturb: PerturbConfig = field(default_factory=PerturbConfig)

    def __post_init__(self) -> None:
        if self.agent.subset > self.agent.heads:
            raise ValueError(f"agent.subset={self.agent.subset} exceeds agent.heads={self.agent.heads}")
        if self.base.demos > self.collect.demos:
            raise ValueError(f"base.demos={self.base.demos} exceeds collect.demos={self.collect.demos}")
        if self.hil.kind != "none" and self.env.count > 1:
            count = self.env.count
            raise ValueError(f"hil={self.hil.kind} with env.count={count}: an operator attends to one arm, set 1")
        if self.hil.protocol != "takeovers" and self.hil.kind != "simulated":
            raise ValueError(f"hil.protocol={self.hil.protocol} is the simulated operator's: add hil=simulated")
        if self.hil.protocol == "graded" and self.shaping.kind == "none":
            raise ValueError("hil.protocol=graded looks where the potential stalls: give a shaping other than none")
        if self.command == "console":
            for page, name, value in (("review", "store", self.store), ("keyframes", "dataset", self.dataset)):
                if self.console.page == page and value is None:
                    raise ValueError(f"console.page={page} needs {name}=FOLDER: what there is to look at")
        if self.adapt_from is not None and self.demo is None:
            raise ValueError(f"adapt_from={self.adapt_from} needs a demonstration: add demo=FOLDER or DATASET:EPISODE")
        if self.demo is not None and self.command != "train-reward":
            raise ValueError(f"demo= is for train-reward: give {self.command} the model that it leaves, reward_model=")
        if self.outcomes is not None and self.store is None:
            raise ValueError(f"outcomes={self.outcomes} are those of a store's episodes: add store=FOLDER")
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
        self._check_suite()
        makes_model = self.command in ("train-reward", "bench-reward", "annotate") and self.reward_model is None
        if makes_model and self.reward.kind == "oracle":
            raise ValueError(f"reward=oracle is not trained, and {self.command} needs a model: use reward=compact")
        if self.reward.views is not None:
            for view in self.reward.views:
                if view not in self.env.cameras:
                    raise ValueError(unknown("reward.views entry", view, self.env.cameras))

    def _check_suite(self) -> None:
        """What a suite would pass over in silence."""
        for name, value in {
            "dataset": self.dataset, "keyframes": self.keyframes, "reward_model": self.reward_model,
            "reward.rivals": self.reward.rivals,
        }.items():  # fmt: skip
            if self.suite.tasks and value:
                raise ValueError(
                    f"{name}= with suite.tasks=[{','.join(self.suite.tasks)}]: a suite collects its own episodes and "
                    "measures the compact model alone, leave one of the two out"
                )

    def _check_rival(self) -> None:
        """A rival scores whole episodes: refused before it is trained for what asks about hops."""
        if self.reward.kind not in RIVALS:
            return
        asked: dict[str, Any] = {"demo": self.demo, "suite.tasks": self.suite.tasks}
        if self.reward_model is None:
            asked |= {"video": self.video}
            asked |= {"annotate": {"to": self.to}, "bench-reward": {"store": self.store}}.get(self.command, {})
        for name, value in asked.items():
            if value:
                raise ValueError(
                    f"{name}= needs a reward model that answers hops, and reward={self.reward.kind} scores whole "
                    "episodes only: use reward=compact"
                )


def register(command: str) -> None:
    """Make the command's defaults and the `settings_digest` resolver known to Hydra; harmless when repeated."""
    from hydra.core.config_store import ConfigStore
    from omegaconf import DictConfig, OmegaConf

    def digest(_root_: DictConfig) -> str:
        sections = {str(key): value for key, value in _root_.items_ex(resolve=False) if key not in ("run", "hydra")}
        plain = {k: OmegaConf.to_container(v) if OmegaConf.is_config(v) else v for k, v in sections.items()}
        return settings_digest(plain)

    OmegaConf.register_new_resolver("settings_digest", digest, replace=True)
    defaults = json.loads(json.dumps(asdict(Config(command=command))))  # OmegaConf knows lists, not tuples
    for key in ("name", "dir", "stages"):
        defaults["run"][key] = "???"
    node = OmegaConf.create(defaults)
    OmegaConf.set_struct(node.video, False)  # cameras have any names
    ConfigStore.instance().store(name="defaults", node=node)


def from_hydra(composed: Any) -> Config:
    """The dataclasses from Hydra's composition; its own `hydra` node is passed over."""
    from omegaconf import OmegaConf

    plain = typing.cast("dict[str, Any]", OmegaConf.to_container(composed, resolve=True, throw_on_missing=True))
    plain.pop("hydra", None)
    return build(Config, plain)


def load_config(overrides: Sequence[str] = (), command: str = "train") -> Config:
    """Compose as the command line would, for scripts, notebooks and tests.

    Args:
        overrides: Hydra overrides such as `"agent.heads=4"` or `"shaping=none"`.
        command: the command whose configuration it is.
    """
    from hydra import compose, initialize_config_module

    register(command)
    with initialize_config_module("robo_reward.conf", version_base="1.3"):
        return from_hydra(compose("config", list(overrides)))
