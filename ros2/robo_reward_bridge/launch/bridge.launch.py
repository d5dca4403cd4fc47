"""`ros2 launch robo_reward_bridge bridge.launch.py robot:=franka`: the bridge before one robot."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node


def generate_launch_description() -> LaunchDescription:
    """Settings as launch arguments, handed on as the node's words."""
    declared = {
        "robot": ("franka", "a name of robo_reward's conf/robot, or a file ending in .yaml"),
        "domain": ("0", "ROS_DOMAIN_ID"),
        "unguarded": ("false", "whether a controller without a command time-out may be armed"),
    }
    words = [[f"{name}=", LaunchConfiguration(name)] for name in declared]
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=value, description=text)
                for name, (value, text) in declared.items()
            ),
            Node(package="robo_reward_bridge", executable="bridge", output="screen", arguments=words),
        ]
    )
