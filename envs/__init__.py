"""Worlds: native MuJoCo tasks and the robosuite adapter, registered with Gymnasium."""

from gymnasium.envs.registration import register

register(id="robo_reward/PegInsert-v0", entry_point="robo_reward.envs.peg_insert:PegInsertEnv")
register(id="robo_reward/Lift-v0", entry_point="robo_reward.envs.robosuite_lift:LiftEnv")
register(
    id="robo_reward/NutAssemblySquare-v0",
    entry_point="robo_reward.envs.robosuite_nut:NutAssemblySquareEnv",
    kwargs={"horizon": 180},
)
register(
    id="robo_reward/PickPlaceCan-v0",
    entry_point="robo_reward.envs.robosuite_can:PickPlaceCanEnv",
    kwargs={"horizon": 180},
)
register(id="robo_reward/Stack-v0", entry_point="robo_reward.envs.robosuite_stack:StackEnv", kwargs={"horizon": 150})
register(id="robo_reward/PegInsertLong-v0", entry_point="robo_reward.envs.peg_insert_long:PegInsertLongEnv")
register(id="robo_reward/Door-v0", entry_point="robo_reward.envs.robosuite_door:DoorEnv", kwargs={"horizon": 150})
