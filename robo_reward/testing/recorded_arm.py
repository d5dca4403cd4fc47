"""The simulated arm as reality, in this process and faster than real time: recordings of an arm with hidden gains."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np

from robo_reward.envs.peg_insert import PegInsertEnv
from robo_reward.evaluation.identification import ArmLog, ArmParameters, Excitation
from robo_reward.hardware.commands import now_header
from robo_reward.hardware.memory_transport import MemoryNetwork, MemoryTransport
from robo_reward.hardware.messages import PoseStamped, String
from robo_reward.hardware.poses import from_axes, to_axes
from robo_reward.hardware.robot_config import load_robot
from robo_reward.hardware.sim_arm import SimArm
from robo_reward.hardware.transport import COMMAND, LATCHED

STEP = np.array([0.010, 0.010, 0.010, 0.08])
"""Action units."""


def record_sim_arm(arm_seed: int, scene: int, act: Excitation, actions: int) -> ArmLog:
    """So many 50 ms actions on the arm of `arm_seed` in the scene of seed `scene`.

    What is sent and measured goes over topics only, as it does with a robot.
    """
    config = replace(load_robot("sim_arm")[0], cameras={})
    network, clock = MemoryNetwork(), [0.0]
    arm = SimArm(config, MemoryTransport(network, lambda: clock[0]), arm_seed)
    client = MemoryTransport(network, lambda: clock[0])
    send = client.advertise(config.command_topic, PoseStamped, COMMAND)
    measured = client.subscribe(config.pose, PoseStamped)
    client.advertise("sim_arm/reset", String, LATCHED)(String(data=json.dumps({"seed": scene})))
    targets: list[tuple[float, np.ndarray]] = []
    poses: list[tuple[float, np.ndarray]] = []

    def step() -> None:
        arm.step(clock[0])
        clock[0] += 0.002

    step()  # takes the reset and one step at rest
    for _ in range(actions):
        pose = _pose(measured, config.tool_down) if measured.latest() else arm._env._measured()
        observation = np.zeros(30)
        observation[7:13] = pose
        action, _ = act(observation, arm._env._observe()["estimate"])
        target = pose * [1, 1, 1, 0, 0, 1]
        target[[0, 1, 2, 5]] += STEP * action
        for part in range(25):
            if part % 5 == 0:  # repeated, as the bridge does
                targets.append((clock[0], target))
                send(PoseStamped(now_header(config.frame), *from_axes(target, config.tool_down)))
            step()
            if part % 8 == 7:
                poses.append((clock[0], _pose(measured, config.tool_down)))
    arm.close()
    return ArmLog(scene, np.array([t for t, _ in targets]), np.stack([x for _, x in targets]),
                  np.array([t for t, _ in poses]), np.stack([x for _, x in poses]))  # fmt: skip


def hidden_parameters(arm_seed: int) -> ArmParameters:
    """What the arm of this seed hides, to measure a fit against."""
    arm = SimArm(replace(load_robot("sim_arm")[0], cameras={}), MemoryTransport(), arm_seed)
    nominal = PegInsertEnv()
    ours, theirs = nominal.model, arm._env.model
    found = ArmParameters(
        tuple((theirs.actuator_gainprm[:6, 0] / ours.actuator_gainprm[:6, 0]).tolist()),
        tuple((theirs.actuator_biasprm[:6, 2] / ours.actuator_biasprm[:6, 2]).tolist()),
        float(theirs.geom_friction[0, 0] / ours.geom_friction[0, 0]),
        arm.latency_s,
    )
    arm.close()
    nominal.close()
    return found


def _pose(inbox: object, tool_down: tuple[float, ...]) -> np.ndarray:
    message = inbox.latest().message  # type: ignore[attr-defined]
    return to_axes(message.position, message.orientation, tool_down)
