"""Every setting, its default and its allowed range, as frozen dataclasses; Hydra composes `conf/` on top of them.

A new setting is one line in the section's file: Hydra knows it from then on, and a yaml in `conf/` names it only to
depart from the default. Wrong keys, types and ranges raise ValueError in one line that says what is allowed.
"""

from robo_reward.config.command import Config
from robo_reward.config.composition import from_hydra, load_config, own_files, register
from robo_reward.config.data import AnnotateConfig, CollectConfig, EnvConfig, LabelConfig, RunConfig
from robo_reward.config.evaluation import EvaluateConfig, PerturbConfig
from robo_reward.config.learner import AgentConfig, BaseConfig, ShapingConfig, TrainConfig
from robo_reward.config.person import ConsoleConfig, HilConfig
from robo_reward.config.reward import (
    HOP_MODELS,
    RIVALS,
    SIBLINGS,
    TALKERS,
    AdaptConfig,
    CompletionConfig,
    RewardConfig,
    ServeConfig,
    SuiteConfig,
    TuneConfig,
)
from robo_reward.config.runtime import REACHED, RuntimeConfig

__all__ = [
    "HOP_MODELS",
    "REACHED",
    "RIVALS",
    "SIBLINGS",
    "TALKERS",
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
