"""One command's whole configuration: the settings that belong to no section, and the sections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from robo_reward.config.checks import check
from robo_reward.config.data import AnnotateConfig, CollectConfig, EnvConfig, LabelConfig, RunConfig
from robo_reward.config.evaluation import EvaluateConfig, PerturbConfig
from robo_reward.config.learner import AgentConfig, BaseConfig, ShapingConfig, TrainConfig
from robo_reward.config.person import ConsoleConfig, HilConfig
from robo_reward.config.reward import AdaptConfig, CompletionConfig, RewardConfig, ServeConfig, SuiteConfig, TuneConfig
from robo_reward.config.runtime import RuntimeConfig
from robo_reward.settings import choice, number


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
    to=, `bench-reward` with store= or video.CAMERA= and `export` with to=; all else refuses it and asks a trained model
    by reward=remote. null: the one that the settings train."""
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
        check(self)
