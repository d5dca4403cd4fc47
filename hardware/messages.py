"""ROS 2 messages as plain data: numpy and strings only, no ROS installation needed.

Every field names its wire type, from which `robo_reward.hardware.cdr` encodes and decodes. Small nested ROS messages
are flattened where the bytes stay the same: a header's stamp, a point and a quaternion become fields of their owner.
Positions [m], angles [rad], forces [N], moments [Nm], quaternions x y z w.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float32, Float64, Int32, UInt8

NUMBERS = {
    name: np.dtype(name).newbyteorder("<")
    for name in ("uint8", "int32", "uint32", "int64", "float32", "float64")
}  # fmt: skip
"""Wire types of numbers; `bool` is stored as one byte, `string` as UTF-8 with its length."""


def _default(kind: Any) -> Any:
    base, _, count = kind.partition("[") if isinstance(kind, str) else (kind, "", "")
    if count == "]":
        return () if base == "string" or base not in NUMBERS else np.zeros(0, NUMBERS[base])
    if count:
        return np.zeros(int(count[:-1]), NUMBERS[base])
    if base in NUMBERS:
        return 0.0 if base.startswith("float") else 0
    return {"bool": False, "string": ""}[base]


def _wire(kind: str, default: Any = None) -> Any:
    """A field of this wire type: `float64`, `string[]`, `float64[9]`, or the name of a message of this file."""
    return field(default_factory=lambda: _default(kind) if default is None else default(), metadata={"wire": kind})


@dataclass(frozen=True, eq=False)
class Message:
    """What all messages have: the name of their ROS type."""

    ros: ClassVar[str] = ""


@dataclass(frozen=True, eq=False)
class Header(Message):
    """When and in which frame. The stamp is the sender's clock: never compared with ours."""

    ros: ClassVar[str] = "std_msgs/msg/Header"
    sec: int = _wire("int32")
    nanosec: int = _wire("uint32")
    frame_id: str = _wire("string")


@dataclass(frozen=True, eq=False)
class JointState(Message):
    """Joints in the sender's order; velocity and effort may be empty."""

    ros: ClassVar[str] = "sensor_msgs/msg/JointState"
    header: Header = _wire("Header", Header)
    name: tuple[str, ...] = _wire("string[]")
    position: Float64[np.ndarray, "J"] = _wire("float64[]")
    velocity: Float64[np.ndarray, "J"] = _wire("float64[]")
    effort: Float64[np.ndarray, "J"] = _wire("float64[]")


@dataclass(frozen=True, eq=False)
class Image(Message):
    """`height` rows of `step` bytes; `robo_reward.hardware.images` turns them into RGB."""

    ros: ClassVar[str] = "sensor_msgs/msg/Image"
    header: Header = _wire("Header", Header)
    height: int = _wire("uint32")
    width: int = _wire("uint32")
    encoding: str = _wire("string")
    is_bigendian: int = _wire("uint8")
    step: int = _wire("uint32")
    data: UInt8[np.ndarray, "N"] = _wire("uint8[]")


@dataclass(frozen=True, eq=False)
class CompressedImage(Message):
    """A JPEG or PNG file in `data`."""

    ros: ClassVar[str] = "sensor_msgs/msg/CompressedImage"
    header: Header = _wire("Header", Header)
    format: str = _wire("string")
    data: UInt8[np.ndarray, "N"] = _wire("uint8[]")


@dataclass(frozen=True, eq=False)
class CameraInfo(Message):
    """Calibration of one camera; the region of interest is flattened."""

    ros: ClassVar[str] = "sensor_msgs/msg/CameraInfo"
    header: Header = _wire("Header", Header)
    height: int = _wire("uint32")
    width: int = _wire("uint32")
    distortion_model: str = _wire("string")
    d: Float64[np.ndarray, "D"] = _wire("float64[]")
    k: Float64[np.ndarray, "9"] = _wire("float64[9]")
    r: Float64[np.ndarray, "9"] = _wire("float64[9]")
    p: Float64[np.ndarray, "12"] = _wire("float64[12]")
    binning_x: int = _wire("uint32")
    binning_y: int = _wire("uint32")
    roi_x_offset: int = _wire("uint32")
    roi_y_offset: int = _wire("uint32")
    roi_height: int = _wire("uint32")
    roi_width: int = _wire("uint32")
    roi_do_rectify: bool = _wire("bool")


@dataclass(frozen=True, eq=False)
class Joy(Message):
    """A gamepad or SpaceMouse: axes in [-1, 1], buttons 0 or 1."""

    ros: ClassVar[str] = "sensor_msgs/msg/Joy"
    header: Header = _wire("Header", Header)
    axes: Float32[np.ndarray, "A"] = _wire("float32[]")
    buttons: Int32[np.ndarray, "B"] = _wire("int32[]")


@dataclass(frozen=True, eq=False)
class Twist(Message):
    """Velocity [m/s] and angular velocity [rad/s]."""

    ros: ClassVar[str] = "geometry_msgs/msg/Twist"
    linear: Float64[np.ndarray, "3"] = _wire("float64[3]")
    angular: Float64[np.ndarray, "3"] = _wire("float64[3]")


@dataclass(frozen=True, eq=False)
class TwistStamped(Message):
    """Velocity [m/s] and angular velocity [rad/s] in the header's frame."""

    ros: ClassVar[str] = "geometry_msgs/msg/TwistStamped"
    header: Header = _wire("Header", Header)
    linear: Float64[np.ndarray, "3"] = _wire("float64[3]")
    angular: Float64[np.ndarray, "3"] = _wire("float64[3]")


@dataclass(frozen=True, eq=False)
class PoseStamped(Message):
    """A pose in the header's frame."""

    ros: ClassVar[str] = "geometry_msgs/msg/PoseStamped"
    header: Header = _wire("Header", Header)
    position: Float64[np.ndarray, "3"] = _wire("float64[3]")
    orientation: Float64[np.ndarray, "4"] = _wire("float64[4]", lambda: np.array([0.0, 0.0, 0.0, 1.0]))


@dataclass(frozen=True, eq=False)
class WrenchStamped(Message):
    """Force and moment in the header's frame."""

    ros: ClassVar[str] = "geometry_msgs/msg/WrenchStamped"
    header: Header = _wire("Header", Header)
    force: Float64[np.ndarray, "3"] = _wire("float64[3]")
    torque: Float64[np.ndarray, "3"] = _wire("float64[3]")


@dataclass(frozen=True, eq=False)
class JointTrajectoryPoint(Message):
    """One point of a trajectory; empty arrays say nothing about that derivative."""

    ros: ClassVar[str] = "trajectory_msgs/msg/JointTrajectoryPoint"
    positions: Float64[np.ndarray, "J"] = _wire("float64[]")
    velocities: Float64[np.ndarray, "J"] = _wire("float64[]")
    accelerations: Float64[np.ndarray, "J"] = _wire("float64[]")
    effort: Float64[np.ndarray, "J"] = _wire("float64[]")
    sec: int = _wire("int32")
    nanosec: int = _wire("uint32")


@dataclass(frozen=True, eq=False)
class JointTrajectory(Message):
    """Points for the named joints, times from the header's stamp."""

    ros: ClassVar[str] = "trajectory_msgs/msg/JointTrajectory"
    header: Header = _wire("Header", Header)
    joint_names: tuple[str, ...] = _wire("string[]")
    points: tuple[JointTrajectoryPoint, ...] = _wire("JointTrajectoryPoint[]")


@dataclass(frozen=True, eq=False)
class JointJog(Message):
    """Displacements [rad] or velocities [rad/s] of the named joints for `duration` seconds."""

    ros: ClassVar[str] = "control_msgs/msg/JointJog"
    header: Header = _wire("Header", Header)
    joint_names: tuple[str, ...] = _wire("string[]")
    displacements: Float64[np.ndarray, "J"] = _wire("float64[]")
    velocities: Float64[np.ndarray, "J"] = _wire("float64[]")
    duration: float = _wire("float64")


@dataclass(frozen=True, eq=False)
class MultiArrayDimension(Message):
    """One axis of a multi-array."""

    ros: ClassVar[str] = "std_msgs/msg/MultiArrayDimension"
    label: str = _wire("string")
    size: int = _wire("uint32")
    stride: int = _wire("uint32")


@dataclass(frozen=True, eq=False)
class Float64MultiArray(Message):
    """Numbers for a ros2_control command topic; the layout is flattened and usually empty."""

    ros: ClassVar[str] = "std_msgs/msg/Float64MultiArray"
    dim: tuple[MultiArrayDimension, ...] = _wire("MultiArrayDimension[]")
    data_offset: int = _wire("uint32")
    data: Float64[np.ndarray, "N"] = _wire("float64[]")


@dataclass(frozen=True, eq=False)
class Bool(Message):
    """True or false."""

    ros: ClassVar[str] = "std_msgs/msg/Bool"
    data: bool = _wire("bool")


@dataclass(frozen=True, eq=False)
class String(Message):
    """A text."""

    ros: ClassVar[str] = "std_msgs/msg/String"
    data: str = _wire("string")


@dataclass(frozen=True, eq=False)
class TransformStamped(Message):
    """Where `child_frame_id` is in the header's frame."""

    ros: ClassVar[str] = "geometry_msgs/msg/TransformStamped"
    header: Header = _wire("Header", Header)
    child_frame_id: str = _wire("string")
    translation: Float64[np.ndarray, "3"] = _wire("float64[3]")
    rotation: Float64[np.ndarray, "4"] = _wire("float64[4]", lambda: np.array([0.0, 0.0, 0.0, 1.0]))


@dataclass(frozen=True, eq=False)
class TFMessage(Message):
    """Some edges of the tree of frames."""

    ros: ClassVar[str] = "tf2_msgs/msg/TFMessage"
    transforms: tuple[TransformStamped, ...] = _wire("TransformStamped[]")


MESSAGES: dict[str, type[Message]] = {kind.__name__: kind for kind in Message.__subclasses__()}
"""Class name -> class; what a wire type that is no number means."""
