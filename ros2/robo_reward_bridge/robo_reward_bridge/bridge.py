"""`ros2 run robo_reward_bridge bridge robot=franka`"""

from robo_reward.hardware.bridge_node import main

__all__ = ["main"]
