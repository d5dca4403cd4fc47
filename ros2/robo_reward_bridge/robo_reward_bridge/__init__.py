"""The ROS 2 package of robo_reward's bridge."""
