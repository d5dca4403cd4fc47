"""`colcon build` of the ROS 2 package; the node itself is in the Python package robo_reward."""

from setuptools import setup

NAME = "robo_reward_bridge"

setup(
    name=NAME,
    version="0.1.0",
    packages=[NAME],
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/launch", ["launch/bridge.launch.py"]),
    ],
    install_requires=["setuptools"],
    zip_safe=True,
    maintainer="robo_reward maintainers",
    maintainer_email="maintainers@example.org",
    description="The bridge of robo_reward as a ROS 2 node.",
    license="Apache-2.0",
    entry_points={"console_scripts": [f"bridge = {NAME}.bridge:main"]},
)
