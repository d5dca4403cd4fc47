"""The policy class that belongs to `configuration_policy`."""

from __future__ import annotations

from typing import Any

import torch
from lerobot.policies.pretrained import PreTrainedPolicy
from lerobot.processor import AddBatchDimensionProcessorStep, DeviceProcessorStep, PolicyProcessorPipeline
from lerobot.processor.converters import policy_action_to_transition, transition_to_policy_action
from lerobot.utils.constants import (
    OBS_ENV_STATE,
    OBS_STATE,
    POLICY_POSTPROCESSOR_DEFAULT_NAME,
    POLICY_PREPROCESSOR_DEFAULT_NAME,
)

from robo_reward.deploy.step import PolicyStep
from robo_reward.lerobot_plugin.configuration_policy import RoboRewardConfig


class RoboRewardPolicy(PreTrainedPolicy):
    """Base and residual behind LeRobot's `select_action`: observation.state is agent_pos, environment_state the
    estimate; the action is in [-1, 1], without the dither of evaluation."""

    config_class = RoboRewardConfig
    name = "robo_reward"

    def __init__(self, config: RoboRewardConfig, **_: Any):
        super().__init__(config)
        self.step = PolicyStep(config.shape()).requires_grad_(False)
        self.reset()

    def reset(self) -> None:
        """The next action is an episode's first."""
        self._memory: tuple[torch.Tensor, torch.Tensor] | None = None

    @torch.no_grad()
    def select_action(self, batch: dict[str, torch.Tensor], **_: Any) -> torch.Tensor:
        """Actions (B, A) for observations (B, P) and (B, E)."""
        agent_pos, estimate = batch[OBS_STATE], batch[OBS_ENV_STATE]
        plan, step = self._memory or self.step.start(len(agent_pos))
        action, _base, *memory = self.step(agent_pos, estimate, plan.to(agent_pos), step.to(agent_pos.device))
        self._memory = (memory[0], memory[1])
        return action

    def predict_action_chunk(self, batch: dict[str, torch.Tensor], **_: Any) -> torch.Tensor:
        """A chunk of one (B, 1, A): the residual looks at every step."""
        return self.select_action(batch)[:, None]

    def forward(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, Any] | None]:
        raise ValueError("a policy of robo_reward is trained by `robo-reward train`, LeRobot only runs it")

    def get_optim_params(self) -> dict[str, Any]:
        return {}


def processors(config: RoboRewardConfig) -> tuple[Any, Any]:
    """What LeRobot does before and after: a batch axis, devices; standardisation is in the policy itself."""
    device = DeviceProcessorStep(device=config.device)
    return (
        PolicyProcessorPipeline(
            steps=[AddBatchDimensionProcessorStep(), device], name=POLICY_PREPROCESSOR_DEFAULT_NAME
        ),
        PolicyProcessorPipeline(
            steps=[DeviceProcessorStep(device="cpu")], name=POLICY_POSTPROCESSOR_DEFAULT_NAME,
            to_transition=policy_action_to_transition, to_output=transition_to_policy_action,
        ),
    )  # fmt: skip
