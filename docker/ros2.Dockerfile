# The robot's computer: the bridge as a ROS 2 node. No torch, no simulator.
# docker build -f docker/ros2.Dockerfile -t robo_reward:jazzy .
# docker build -f docker/ros2.Dockerfile -t robo_reward:humble --build-arg BASE=ros:humble-ros-base-jammy .
ARG BASE=ros:jazzy-ros-base-noble
FROM ${BASE}
WORKDIR /robo_reward
COPY docker/install.sh docker/install.sh
RUN docker/install.sh bridge "ros-${ROS_DISTRO}-rmw-cyclonedds-cpp" "ros-${ROS_DISTRO}-std-srvs" && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home robo && chown robo:robo /robo_reward
USER robo
COPY --chown=robo:robo . .
# rclpy lies in the distribution's own folders; its messages were compiled for numpy 1.
RUN python3 -m venv --system-site-packages .venv \
    && .venv/bin/pip install --quiet --no-cache-dir -c requirements/ros2.txt -e .
ENV RMW_IMPLEMENTATION=rmw_cyclonedds_cpp PATH=/robo_reward/.venv/bin:$PATH ROBOT=sim_arm
HEALTHCHECK --interval=60s --timeout=30s --start-period=30s \
    CMD ["/ros_entrypoint.sh", "bash", "-c", "robo-reward robot check robot=$ROBOT bridge=true"]
ENTRYPOINT ["/ros_entrypoint.sh", "python", "-m", "robo_reward.hardware.bridge_node"]
CMD ["robot=sim_arm"]
