"""The learners by their name in the configuration: `agent.kind`."""

from __future__ import annotations

from robo_reward.learning.filtered_cloning import FilteredCloning
from robo_reward.learning.ibrl import IBRL
from robo_reward.learning.residual_ppo import ResidualPPO
from robo_reward.learning.residual_sac import ResidualSAC
from robo_reward.learning.residual_td3 import ResidualTD3

AGENTS: dict[str, type[ResidualTD3]] = {
    "residual_td3": ResidualTD3,
    "residual_sac": ResidualSAC,
    "residual_ppo": ResidualPPO,
    "ibrl": IBRL,
    "filtered_cloning": FilteredCloning,
}
