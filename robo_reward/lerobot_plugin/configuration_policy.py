"""`--policy.type=robo_reward`: the trained base and residual as LeRobot's tools load them.

LeRobot finds the policy's class by these files' names: configuration_X beside modeling_X.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from lerobot.configs.policies import PreTrainedConfig
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.utils.constants import ACTION, OBS_ENV_STATE, OBS_STATE

from robo_reward.deploy.step import StepShape


@PreTrainedConfig.register_subclass("robo_reward")
@dataclass
class RoboRewardConfig(PreTrainedConfig):
    """The shape of a `PolicyStep`; see `StepShape`."""

    agent_pos: int = 1
    estimate: int = 1
    actions: int = 1
    columns: tuple[int, ...] = (0, 1)
    chunk: int = 1
    base_hidden: int = 0
    hidden: int = 1
    norm: bool = True
    squash: bool = True
    push_to_hub: bool = False

    @classmethod
    def of(cls, shape: StepShape) -> RoboRewardConfig:
        """The configuration of a policy of this shape, on the CPU."""
        return cls(
            **asdict(shape), device="cpu",
            input_features={
                OBS_STATE: PolicyFeature(FeatureType.STATE, (shape.agent_pos,)),
                OBS_ENV_STATE: PolicyFeature(FeatureType.ENV, (shape.estimate,)),
            },
            output_features={ACTION: PolicyFeature(FeatureType.ACTION, (shape.actions,))},
        )  # fmt: skip

    def shape(self) -> StepShape:
        """The same as a `StepShape`."""
        return StepShape(**{name: getattr(self, name) for name in StepShape.__dataclass_fields__})

    @property
    def observation_delta_indices(self) -> None:
        return None

    @property
    def action_delta_indices(self) -> None:
        return None

    @property
    def reward_delta_indices(self) -> None:
        return None

    def get_optimizer_preset(self) -> Any:
        raise ValueError("a policy of robo_reward is trained by `robo-reward train`, LeRobot only runs it")

    def get_scheduler_preset(self) -> None:
        return None

    def validate_features(self) -> None:
        """Nothing: the shape says it all."""
