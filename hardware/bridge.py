"""The bridge: the one process that writes to the robot.

Gate, arbitration between policy and human, and the publisher of setpoints live here, so that a policy that hangs, dies
or holds the interpreter cannot keep the arm moving. The others feed it through shared memory (`robo_reward.hardware.
slots`) and read there what became of it. Started by `robo_reward.hardware.robot`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from dataclasses import asdict, replace

import numpy as np

from robo_reward.hardware.arm_state import ArmState
from robo_reward.hardware.commands import COMMANDS
from robo_reward.hardware.messages import Bool, Float64MultiArray, String
from robo_reward.hardware.robot_config import RobotConfig, check_robot
from robo_reward.hardware.slots import Slot, share
from robo_reward.hardware.transport import LATCHED, Clock, Qos, Transport
from robo_reward.safety.arm_gate import Gate, Mode, Sensed
from robo_reward.safety.limits import Limits, check_limits
from robo_reward.settings import build

WIDEST = 16
"""Largest number of axes or joints in a slot."""
TEXT = 200
SHUTDOWN_S = 0.08
"""Longest time spent on coming to rest before the bridge ends."""

ACTION = np.dtype([("time_s", "f8"), ("engaged", "?"), ("size", "i4"), ("action", "f8", WIDEST)])
"""From policy or human: when it was asked for, whether a human has taken over, and the action."""
CONSOLE = np.dtype([("order", f"S{TEXT}")])
"""From the operator: arm, arm_unguarded, hold, disarm, stop, clear or quit; then, after a space, a reason."""
STATUS = np.dtype(
    [
        ("time_s", "f8"), ("mode", "i4"), ("trips", "i4"), ("overruns", "i4"), ("source", "i4"), ("order", "u8"),
        ("action", "u8"), ("size", "i4"), ("executed", "f8", WIDEST), ("setpoint", "f8", WIDEST),
        ("pose", "f8", WIDEST), ("opening", "f8"), ("age_s", "f8"), ("since_s", "f8"),
        ("reason", f"S{TEXT}"), ("answer", f"S{TEXT}"),
    ]
)  # fmt: skip
"""From the bridge, every period. `action` and `order` are the numbers of the last ones that were taken up,
`since_s` the time of the last change of mode."""
SLOTS = [ACTION, ACTION, CONSOLE, STATUS]
"""Policy, human, console, status: the order in the shared memory."""
NOBODY, POLICY, HUMAN = range(3)
REPORTS = "the robot reports"
"""Begins the reason of a hold that the robot itself asked for."""


class Bridge:
    """One period is one `step`; everything in it is local, so that a test can walk through it with its own clock."""

    def __init__(
        self,
        config: RobotConfig,
        limits: Limits,
        transport: Transport,
        slots: list[Slot],
        clock: Clock = time.monotonic,
    ) -> None:
        self._config, self._limits, self._clock = config, limits, clock
        self._policy, self._human, self._console, self._status = slots
        self._gate = Gate(limits, config.axes, sends_velocity=config.command == "twist")
        self._state = ArmState(config, transport)
        self._stop_heard = False
        if config.stop:
            transport.subscribe(config.stop, Bool, replace(LATCHED, depth=16), heard=self._hear_stop)
        self._fault = transport.subscribe(config.fault, String, LATCHED) if config.fault else None
        kind, self._command = COMMANDS[config.command]
        # The promised interval is three periods: a late one is no reason for a controller to give up.
        self._publish = transport.advertise(config.command_topic, kind, Qos(deadline_s=3 / limits.rate_hz))
        self._grip = transport.advertise(config.gripper, Float64MultiArray) if config.gripper else None
        self._gripping, self._opening = -1.0, config.gripper_open
        self._heard = {POLICY: 0, HUMAN: 0}  # numbers of the last actions that were taken up
        self._human_since = 0  # a human takes over with actions later than this
        self._ordered = 0
        self._executed, self._source, self._answer = np.zeros(config.actions), NOBODY, ""
        self._setpoint: np.ndarray | None = None
        self._sensed: Sensed | None = None
        self._mode, self._since_s = self._gate.mode, clock()
        self.overruns = 0
        self.quit = False

    def step(self) -> None:
        """One period: look, listen, decide, send, tell."""
        sensed = self._sensed = self._state.read()
        now = self._clock()
        if self._stop_heard:
            self._stop_heard = False
            self._gate.stop(f"/{self._config.stop}", sensed)
        if self._fault and (fault := self._fault.latest()) and fault.message.data:
            self._gate.hold(f"{REPORTS}: {fault.message.data}", sensed)
        self._take_order(sensed, now)
        self._take_action(sensed, now)
        self._send(self._gate.tick(sensed, now))
        self._tell(sensed, now)

    def shut_down(self, reason: str) -> None:
        """Hold and send until the setpoint rests, at most `SHUTDOWN_S`. Uses nothing that may have failed."""
        self._gate.hold(reason, self._sensed)
        for _ in range(int(SHUTDOWN_S * self._limits.rate_hz)):
            before = self._setpoint
            self._send(self._gate.tick(None, self._clock()))
            if before is None or self._setpoint is None or np.allclose(before, self._setpoint, atol=1e-7):
                break
            time.sleep(1 / self._limits.rate_hz)
        if self._setpoint is not None:
            self._send(self._setpoint, rests=True)
        self._tell(self._sensed, self._clock())

    def _hear_stop(self, message: Bool) -> None:
        """In the transport's thread. True, once, is enough; false ends nothing."""
        self._stop_heard |= message.data

    def _take_order(self, sensed: Sensed | None, now: float) -> None:
        number, record = self._console.read()
        if number == self._ordered:
            return
        self._ordered = number
        order, _, reason = bytes(record["order"]).decode(errors="replace").partition(" ")
        self._answer = ""
        try:
            if order in ("arm", "arm_unguarded"):
                self._gate.arm(sensed, now, unguarded=order == "arm_unguarded")
                self._human_since = self._human.read()[0]
                self._heard = {POLICY: self._policy.read()[0], HUMAN: self._human_since}  # asked for before arming
            elif order == "hold":
                self._gate.hold(reason or "on request", sensed)
            elif order == "disarm":
                self._gate.disarm(reason or "on request")
            elif order == "stop":
                self._gate.stop(reason or "on request", sensed)
            elif order == "clear":
                self._gate.clear()
            elif order == "quit":
                self.quit = True
            else:
                raise ValueError(f"unknown order '{order}'")
        except ValueError as error:
            missing = f" ({self._state.missing})" if sensed is None and self._state.missing else ""
            self._answer = f"{error}{missing}"

    def _take_action(self, sensed: Sensed | None, now: float) -> None:
        """The human's action while one has taken over, else the policy's; each once, and only while it is fresh."""
        limit = self._limits.action_timeout_s
        found = {POLICY: self._policy.read(), HUMAN: self._human.read()}
        number, human = found[HUMAN]
        taken_over = number > self._human_since and bool(human["engaged"])
        self._source = HUMAN if taken_over else POLICY if found[POLICY][0] else NOBODY
        if taken_over and (silent := now - float(human["time_s"])) > limit:
            self._gate.hold(f"the human's device is silent for {silent:.3f} s", sensed)
        if self._source != NOBODY and found[self._source][0] != self._heard[self._source]:
            record = found[self._source][1]
            self._executed = np.zeros(self._config.actions)
            if sensed is not None and now - record["time_s"] <= limit:
                action = record["action"][: max(0, record["size"])]
                self._executed = self._request(action, sensed, now, float(record["time_s"]))
        self._heard = {source: number for source, (number, _) in found.items()}  # a policy overruled is answered too

    def _request(self, action: np.ndarray, sensed: Sensed, now: float, asked_s: float) -> np.ndarray:
        """Through the gate; the gripper's number, which may be left out, counts only where the gate lets the rest."""
        axes = len(self._config.axes)
        if self._grip is None:
            return self._gate.request(action, sensed, now, asked_s)
        arm, grip = (action[:-1], float(action[-1])) if len(action) == axes + 1 else (action, self._gripping)
        if not abs(grip) <= 1:  # also NaN
            self._gate.hold(f"the gripper's action {grip} lies outside [-1, 1]", sensed)
        executed = self._gate.request(arm, sensed, now, asked_s)
        if self._gate.mode is not Mode.ARMED:
            return np.zeros(axes + 1)
        if len(action) == axes + 1:
            opened, closed = self._config.gripper_open, self._config.gripper_closed
            self._gripping, self._opening = grip, opened + (closed - opened) * (grip + 1) / 2
            self._grip(Float64MultiArray(data=np.array([self._opening])))
        return np.append(executed, grip)

    def _send(self, setpoint: np.ndarray | None, rests: bool = False) -> None:
        """Nothing while there is none: something else may be moving a disarmed arm, so no old one is kept either."""
        self._setpoint = setpoint
        if setpoint is not None:
            velocity = np.zeros(len(setpoint)) if rests else self._gate.velocity
            self._publish(self._command(self._config, setpoint, velocity, 1 / self._limits.rate_hz))

    def _tell(self, sensed: Sensed | None, now: float) -> None:
        if self._gate.mode is not self._mode:
            self._mode, self._since_s = self._gate.mode, now
        arrays = {"executed": self._executed, "setpoint": self._setpoint, "pose": sensed.pose if sensed else None}
        self._status.write(
            time_s=now,
            mode=self._gate.mode.value,
            trips=self._gate.trips,
            overruns=self.overruns,
            source=self._source,
            order=self._ordered,
            action=self._heard[POLICY],
            size=len(self._executed),
            opening=self._opening,
            age_s=now - sensed.time_s if sensed else np.inf,
            since_s=self._since_s,
            reason=self._gate.reason.encode()[:TEXT],
            answer=self._answer.encode()[:TEXT],
            **{name: _padded(array) for name, array in arrays.items()},
        )


def _padded(array: np.ndarray | None) -> np.ndarray:
    return np.full(WIDEST, np.nan) if array is None else np.pad(array, (0, WIDEST - len(array)), constant_values=np.nan)


def run(bridge: Bridge, rate_hz: float, parent: int) -> None:
    """Step until told to quit, a signal, or the end of the parent process; the arm is held before returning."""
    reasons: list[str] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: reasons.append(signal.Signals(number).name))
    try:
        os.setpriority(os.PRIO_PROCESS, 0, -10)
    except OSError:
        pass  # not allowed: an ordinary process then
    due = time.monotonic()
    try:
        while not bridge.quit and not reasons:
            bridge.step()
            if os.getppid() != parent:
                reasons.append("the process that started the bridge is gone")
            due += 1 / rate_hz
            if (late := time.monotonic() - due) > 0:
                bridge.overruns += 1
                due += late
            else:
                time.sleep(-late)
    except BaseException as error:
        reasons.append(f"{type(error).__name__} in the bridge")
        raise
    finally:
        bridge.shut_down(reasons[0] if reasons else "the bridge was told to quit")


def open_transport(config: RobotConfig) -> Transport:
    """The robot's transport. ValueError when it cannot be opened here."""
    if config.transport == "rclpy":
        from robo_reward.hardware.rclpy_transport import RclpyTransport

        return RclpyTransport(config.domain, network=bool(config.trusted_interface))
    from robo_reward.hardware.dds_transport import DdsTransport

    return DdsTransport(config.domain, config.interface, config.trusted_interface)


def arguments(config: RobotConfig, limits: Limits, descriptor: int) -> list[str]:
    """Command line of a bridge process that is handed the descriptor."""
    text = json.dumps({"config": asdict(config), "limits": asdict(limits)})
    return [sys.executable, "-m", "robo_reward.hardware.bridge", str(descriptor), str(os.getpid()), text]


def main(words: list[str]) -> None:
    """`python -m robo_reward.hardware.bridge DESCRIPTOR PARENT SETTINGS`; exit code 2 and one line on a bad setting."""
    settings = json.loads(words[2])
    try:
        config, limits = build(RobotConfig, settings["config"]), check_limits(build(Limits, settings["limits"]))
        check_robot(config, limits)
        transport = open_transport(config)
    except (ValueError, ModuleNotFoundError) as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    try:
        run(Bridge(config, limits, transport, share(int(words[0]), SLOTS)), limits.rate_hz, int(words[1]))
    finally:
        transport.close()


if __name__ == "__main__":
    main(sys.argv[1:])
