"""Devices on the wire: Joy, Twist and leader arms, as other nodes publish them."""

from __future__ import annotations

import numpy as np

from robo_reward.hardware.messages import JointState, Joy, Twist
from robo_reward.hardware.teleop import Reading
from robo_reward.hardware.transport import Transport


class JoyTopic:
    """A Joy topic. Its sender must repeat itself (`autorepeat_rate` of joy_node): silence lets go."""

    def __init__(self, transport: Transport, topic: str) -> None:
        self._transport, self._inbox = transport, transport.subscribe(topic, Joy)

    def read(self) -> Reading | None:
        """The newest message."""
        received = self._inbox.latest()
        if received is None:
            return None
        return Reading(np.asarray(received.message.axes, np.float64), _pressed(received.message), received.time_s)

    def close(self) -> None:
        """Leave the wire."""
        self._transport.close()


class TwistTopic:
    """A Twist topic: linear, then angular. It has no buttons, so its deflection is the dead-man."""

    def __init__(self, transport: Transport, topic: str) -> None:
        self._transport, self._inbox = transport, transport.subscribe(topic, Twist)

    def read(self) -> Reading | None:
        """The newest message."""
        received = self._inbox.latest()
        if received is None:
            return None
        twist = received.message
        return Reading(np.concatenate([twist.linear, twist.angular]), frozenset(), received.time_s)

    def close(self) -> None:
        """Leave the wire."""
        self._transport.close()


class LeaderArm:
    """A leader arm's joint states, and a Joy topic whose button is its dead-man. As old as the older of the two."""

    def __init__(self, transport: Transport, topic: str, joints: tuple[str, ...], pedal: str) -> None:
        self._transport, self._joints = transport, joints
        self._states, self._pedal = transport.subscribe(topic, JointState), transport.subscribe(pedal, Joy)

    def read(self) -> Reading | None:
        """The newest messages; None too when a joint is missing."""
        states, pedal = self._states.latest(), self._pedal.latest()
        if states is None or pedal is None:
            return None
        positions = dict(zip(states.message.name, states.message.position, strict=False))
        if not set(self._joints) <= set(positions):
            return None
        axes = np.array([positions[joint] for joint in self._joints])
        return Reading(axes, _pressed(pedal.message), min(states.time_s, pedal.time_s))

    def close(self) -> None:
        """Leave the wire."""
        self._transport.close()


def _pressed(joy: Joy) -> frozenset[int]:
    return frozenset(int(number) for number in np.flatnonzero(joy.buttons))
