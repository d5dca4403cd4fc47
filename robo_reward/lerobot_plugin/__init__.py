"""Our bridge as a `Robot` and our devices as a `Teleoperator` for LeRobot's own tools, which load this package:

    lerobot-teleoperate --robot.discover_packages_path=robo_reward.lerobot_plugin \\
        --robot.type=robo_reward --robot.robot=franka --teleop.type=robo_reward --teleop.teleop=gamepad \\
        --teleop.robot=franka

and the policies that `robo-reward export` writes for LeRobot, `--policy.path=FOLDER/lerobot`.
"""

from robo_reward.data.lerobot_package import hide_transformers
from robo_reward.data.torchvision_cure import cure

cure()  # before LeRobot's first import of torchvision
hide_transformers()

from robo_reward.lerobot_plugin.configuration_policy import RoboRewardConfig  # noqa: E402
from robo_reward.lerobot_plugin.devices import (  # noqa: E402
    RoboRewardRobot,
    RoboRewardRobotConfig,
    RoboRewardTeleop,
    RoboRewardTeleopConfig,
)

__all__ = ["RoboRewardConfig", "RoboRewardRobot", "RoboRewardRobotConfig", "RoboRewardTeleop", "RoboRewardTeleopConfig"]
