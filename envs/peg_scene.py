"""The PegInsert scene as MJCF: a 7-joint arm with Panda kinematics, a square peg, two sockets, three cameras.

Lengths in metres, angles in radians, forces in newtons. Kinematics, joint ranges and torque limits are the published
Denavit-Hartenberg parameters of the Franka Emika Panda; the shapes are primitives, so that physics and rendering stay
cheap. The Cartesian impedance law is evaluated by the engine itself at every physics step: six actuators on the tool
site produce the wrench K (x_target - x) - D v, mapped to joint torques by the transposed Jacobian, within the
joints' torque limits.
"""

from __future__ import annotations

import numpy as np

PHYSICS_HZ = 500
PEG_HALF_WIDTH = 0.010
PEG_HALF_LENGTH = 0.040
CLEARANCE = 0.001
SOCKET_HEIGHT = 0.040
SOCKET_HALF_OUTER = 0.035
SOCKET_CENTRES = ((0.50, -0.085), (0.50, 0.085))
COLOURS = {"orange": "0.95 0.55 0.10 1", "blue": "0.10 0.35 0.85 1"}
CAMERAS = ("front", "side", "wrist")
HOME_QPOS = np.array([0.0, 0.15, 0.0, -2.2, 0.0, 2.35, np.pi / 4])

STIFFNESS = (2500.0, 2500.0, 2500.0, 60.0, 60.0, 60.0)
"""Cartesian stiffness [N/m, Nm/rad] along world x, y, z and about them."""
DAMPING = (150.0, 150.0, 150.0, 4.0, 4.0, 4.0)
GRIP_STIFFNESS = 4000.0
"""Of each finger that grasps [N/m]: closed on the peg it presses with 40 N."""
PEG_MASS = 0.04
"""Of the peg that is grasped [kg], as if of plastic."""
_WELD = '<weld name="grasp" site1="grasp" site2="peg_centre"/>'

_LINKS = (
    # position, quaternion, joint range [rad], torque limit [Nm], mass [kg], capsule radius [m] and ends [m]
    ("0 0 0.333", "1 0 0 0", "-2.8973 2.8973", 87, 3.0, 0.060, "0 0 -0.19 0 0 0"),
    ("0 0 0", "1 -1 0 0", "-1.7628 1.7628", 87, 3.0, 0.060, "0 0 0.05 0 -0.16 0"),
    ("0 -0.316 0", "1 1 0 0", "-2.8973 2.8973", 87, 2.5, 0.055, "0.04 0 -0.10 0.06 0 0"),
    ("0.0825 0 0", "1 1 0 0", "-3.0718 -0.0698", 87, 2.5, 0.055, "-0.06 0.08 0 -0.06 0.14 0"),
    ("-0.0825 0.384 0", "1 -1 0 0", "-2.8973 2.8973", 12, 2.5, 0.050, "0 0 -0.20 0 0.03 -0.03"),
    ("0 0 0", "1 1 0 0", "-0.0175 3.7525", 12, 1.5, 0.045, "0 0 0 0.08 0 0"),
    ("0.088 0 0", "1 1 0 0", "-2.8973 2.8973", 12, 0.7, 0.040, "0 0 0.06 0 0 0.10"),
)


def _arm(tool_z: float) -> str:
    """Nested bodies of the arm; `tool_z` is the nominal peg tip below the hand's flange."""
    opening = closing = ""
    for index, (pos, quat, limits, torque, mass, radius, ends) in enumerate(_LINKS, start=1):
        opening += (
            f'<body name="link{index}" pos="{pos}" quat="{quat}" gravcomp="1">'
            f'<inertial pos="0 0 0" mass="{mass}" diaginertia="{0.01 * mass} {0.01 * mass} {0.006 * mass}"/>'
            f'<joint name="joint{index}" range="{limits}" actuatorfrcrange="-{torque} {torque}"/>'
            f'<geom type="capsule" size="{radius}" fromto="{ends}"/>'
        )
        closing += "</body>"
    hand = f"""
      <body name="hand" pos="0 0 0.107" quat="0.9238795 0 0 -0.3826834" gravcomp="1">
        <inertial pos="0 0 0.04" mass="0.73" diaginertia="0.003 0.003 0.002"/>
        <geom type="box" size="0.03 0.09 0.03" pos="0 0 0.03" class="arm"/>
        <body name="tool_frame" pos="0 0 {tool_z}" quat="0 1 0 0">
          <!-- A body of its own because a site transmission with a reference site is right only for sites whose own
               rotation is the identity. -->
          <inertial pos="0 0 0" mass="0.001" diaginertia="1e-6 1e-6 1e-6"/>
          <site name="tool"/>
        </body>
        <site name="grasp" pos="0 0 {tool_z - PEG_HALF_LENGTH}" quat="0 1 0 0"/>
        <camera name="wrist" pos="0.075 0 0.06" xyaxes="0 1 0 0.94 0 0.34" fovy="58"/>
        <body name="finger_left" pos="0 0 0.06" gravcomp="1">
          <joint name="finger_left" class="finger" axis="0 1 0"/>
          <geom type="box" size="0.009 0.005 0.026" pos="0 0.005 0.026" mass="0.02" class="finger_geom"/>
        </body>
        <body name="finger_right" pos="0 0 0.06" gravcomp="1">
          <joint name="finger_right" class="finger" axis="0 -1 0"/>
          <geom type="box" size="0.009 0.005 0.026" pos="0 -0.005 0.026" mass="0.02" class="finger_geom"/>
        </body>
      </body>"""
    return opening + hand + closing


def _socket(name: str, colour: str) -> str:
    """A block with a square hole: four walls and a floor, on a mocap-free body placed at reset."""
    hole = PEG_HALF_WIDTH + CLEARANCE
    thick = (SOCKET_HALF_OUTER - hole) / 2
    offset = hole + thick
    half_height = SOCKET_HEIGHT / 2
    walls = ""
    for x, y, sx, sy in (
        (offset, 0, thick, SOCKET_HALF_OUTER),
        (-offset, 0, thick, SOCKET_HALF_OUTER),
        (0, offset, hole, thick),
        (0, -offset, hole, thick),
    ):
        pose = f'pos="{x} {y} {half_height}" size="{sx} {sy} {half_height}"'
        walls += f'<geom class="wall" type="box" {pose} rgba="{colour}"/>'
    floor = f'<geom class="wall" type="box" pos="0 0 0.003" size="{hole} {hole} 0.003" rgba="0.05 0.05 0.05 1"/>'
    mouth = f'<site name="{name}_mouth" pos="0 0 {SOCKET_HEIGHT}"/>'
    return f'<body name="{name}" pos="0.5 0 0">{walls}{floor}{mouth}</body>'


def build_xml(grasping: bool = False) -> str:
    """The complete scene.

    With `grasping` the peg is free and light, and fingers that collide with it hold it by friction; otherwise a weld
    holds it, and the fingers are for show.
    """
    tool_z = 0.107 + 0.060
    axes = ("1 0 0 0 0 0", "0 1 0 0 0 0", "0 0 1 0 0 0", "0 0 0 1 0 0", "0 0 0 0 1 0", "0 0 0 0 0 1")
    impedance = "".join(
        f'<general name="{name}" site="tool" refsite="world_frame" gear="{gear}" dyntype="filterexact" '
        f'dynprm="0.02" gainprm="{k}" biastype="affine" biasprm="0 -{k} -{d}"/>'
        for name, gear, k, d in zip(("x", "y", "z", "rx", "ry", "rz"), axes, STIFFNESS, DAMPING, strict=True)
    )
    finger = 'contype="1" priority="2" friction="1.2 0.005 0.0001" solref="0.004 1"' if grasping else ""
    force, damping = (GRIP_STIFFNESS, 60) if grasping else (200, 5)
    mass, carried, impratio = (PEG_MASS, 0, 20) if grasping else (0.12, 1, 3)  # 20: a held peg creeps .02 mm a second
    # The fingers of a real hand are coupled: what pushes the peg sideways pushes the hand.
    held = '<joint joint1="finger_left" joint2="finger_right"/>' if grasping else _WELD
    sockets = "".join(_socket(f"socket_{name}", rgba) for name, rgba in COLOURS.items())
    return f"""
<mujoco model="peg_insert">
  <compiler angle="radian" autolimits="true"/>
  <option timestep="{1 / PHYSICS_HZ}" integrator="implicitfast" cone="elliptic" impratio="{impratio}"/>
  <visual>
    <global offwidth="480" offheight="480"/>
    <quality shadowsize="0" offsamples="0"/>
    <map znear="0.005" zfar="10"/>
    <headlight ambient="0.45 0.45 0.45" diffuse="0.5 0.5 0.5" specular="0 0 0"/>
  </visual>
  <default>
    <geom contype="0" conaffinity="0" rgba="0.86 0.86 0.88 1"/>
    <joint type="hinge" axis="0 0 1" damping="0.2" armature="0.05"/>
    <site rgba="0 0 0 0" size="0.001"/>
    <equality solref="0.004 1" solimp="0.98 0.999 0.0005"/>
    <default class="arm"><geom rgba="0.55 0.57 0.60 1"/></default>
    <default class="finger"><joint type="slide" range="0 0.04" damping="{damping}" armature="0.05"/></default>
    <default class="finger_geom"><geom rgba="0.15 0.15 0.17 1" {finger}/></default>
    <default class="wall">
      <geom contype="1" conaffinity="2" friction="0.3 0.005 0.0001" solref="0.004 1" solimp="0.95 0.99 0.0005"/>
    </default>
  </default>
  <worldbody>
    <light pos="0.4 -0.6 1.6" dir="0.05 0.4 -1" castshadow="false" diffuse="0.45 0.45 0.45"/>
    <site name="world_frame" pos="0 0 0"/>
    <geom name="table" type="box" size="0.45 0.6 0.02" pos="0.45 0 -0.02" rgba="0.72 0.66 0.58 1" contype="1"
      conaffinity="2"/>
    <geom type="cylinder" size="0.08 0.07" pos="0 0 0.07"/>
    <camera name="front" pos="0.98 0 0.36" xyaxes="0 1 0 -0.55 0 0.835" fovy="36"/>
    <camera name="side" pos="0.52 0.50 0.30" xyaxes="-1 0 0 0 -0.48 0.877" fovy="40"/>
    {_arm(tool_z)}
    {sockets}
    <body name="peg" pos="0.5 0 0.3" gravcomp="{carried}">
      <freejoint/>
      <geom name="peg" type="box" size="{PEG_HALF_WIDTH} {PEG_HALF_WIDTH} {PEG_HALF_LENGTH}" mass="{mass}"
        rgba="0.20 0.62 0.32 1" contype="2" conaffinity="1" friction="0.3 0.005 0.0001" solref="0.004 1"
        solimp="0.95 0.99 0.0005" priority="1"/>
      <site name="peg_centre" pos="0 0 0"/>
      <site name="peg_tip" pos="0 0 -{PEG_HALF_LENGTH}"/>
    </body>
  </worldbody>
  <equality>{held}</equality>
  <actuator>
    {impedance}
    <position name="finger_left" joint="finger_left" kp="{force}" ctrlrange="0 0.04"/>
    <position name="finger_right" joint="finger_right" kp="{force}" ctrlrange="0 0.04"/>
  </actuator>
</mujoco>"""
