"""The bridge as a node for others, over memory and the double of rclpy; and the ROS 2 package, as colcon reads it."""

from __future__ import annotations

import importlib.util
import json
import runpy
import sys
import threading
import time
import types
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from robo_reward.hardware.bridge_node import NAME, BridgeNode, main
from robo_reward.hardware.memory_transport import MemoryNetwork, MemoryTransport
from robo_reward.hardware.messages import MESSAGES, Bool, Float64MultiArray, String
from robo_reward.hardware.rclpy_transport import RclpyTransport
from robo_reward.hardware.robot import RobotFault
from robo_reward.hardware.robot_config import load_robot
from robo_reward.hardware.transport import LATCHED, Transport
from robo_reward.safety.arm_gate import Mode
from robo_reward.testing.rclpy_double import install_rclpy_double

CONFIG, LIMITS = load_robot("sim_arm")
PACKAGE = Path(__file__).parents[2] / "ros2" / "robo_reward_bridge"


class Arm:
    """A connected robot that does what it is told, at once."""

    def __init__(self) -> None:
        self.config, self.limits = CONFIG, LIMITS
        self.mode, self.reason, self.pose, self.orders = Mode.DISARMED, "not armed", np.zeros(6), []

    def send(self, action: np.ndarray) -> np.ndarray:
        if self.mode is not Mode.ARMED:
            raise RobotFault(f"the arm holds: {self.reason}")
        if action.shape != (4,):
            raise RobotFault("a bad action")
        self.pose[list(CONFIG.axes)] += action * np.array(LIMITS.step)[list(CONFIG.axes)]
        return np.clip(action, -0.5, 0.5)

    def observe(self):
        return SimpleNamespace(sensed=SimpleNamespace(pose=self.pose.copy()))

    def arm(self, unguarded: bool = False) -> None:
        self.orders.append("arm_unguarded" if unguarded else "arm")
        self.mode, self.reason = Mode.ARMED, ""

    def clear(self) -> None:
        self.orders.append("clear")

    def hold(self, reason: str) -> None:
        self.mode, self.reason = Mode.HELD, reason

    def disarm(self, reason: str) -> None:
        self.mode, self.reason = Mode.DISARMED, reason

    def status(self):
        return SimpleNamespace(mode=self.mode, reason=self.reason, trips=0)


class Others:
    """Another node, and what it hears."""

    def __init__(self, wire: Transport) -> None:
        self.act = wire.advertise(f"{NAME}/action", Float64MultiArray)
        self.say = {order: wire.advertise(f"{NAME}/{order}", Bool, LATCHED) for order in ("enable", "stop", "home")}
        self.executed = wire.subscribe(f"{NAME}/executed", Float64MultiArray)
        self._status = wire.subscribe(f"{NAME}/status", String, LATCHED)
        self.stop = wire.subscribe(CONFIG.stop, Bool, LATCHED)

    @property
    def status(self) -> dict:
        return json.loads(self._status.latest().message.data)


@pytest.fixture(params=["memory", "rclpy-double"])
def ends(request, monkeypatch):
    if request.param == "memory":
        network = MemoryNetwork()
        wires = [MemoryTransport(network), MemoryTransport(network)]
    else:
        install_rclpy_double(monkeypatch)
        wires = [RclpyTransport(name="bridge"), RclpyTransport(name="others")]
    arm = Arm()
    yield arm, BridgeNode(arm, wires[0]), Others(wires[1])
    for wire in wires:
        wire.close()


def until(node: BridgeNode, condition) -> None:
    deadline = time.monotonic() + 10
    while True:
        node.step()
        try:
            if condition():
                return
        except AttributeError:
            pass  # nothing came yet
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_others_arm_drive_and_disarm(ends):
    arm, node, others = ends
    until(node, lambda: others.status["mode"] == "disarmed")
    others.act(Float64MultiArray(data=np.ones(4)))
    until(node, lambda: "the arm holds: not armed" in others.status["refused"])
    others.say["enable"](Bool(data=True))
    until(node, lambda: others.status == {"mode": "armed", "reason": "", "trips": 0, "refused": ""})
    assert arm.orders == ["clear", "arm"] and not others.stop.latest().message.data
    others.act(Float64MultiArray(data=np.array([1.0, 0, 0, -0.2])))
    until(node, lambda: others.executed.latest() is not None)
    assert others.executed.latest().message.data.tolist() == [0.5, 0, 0, -0.2], "what was executed, not what was asked"
    others.act(Float64MultiArray(data=np.ones(2)))
    until(node, lambda: others.status["refused"] == "a bad action")
    others.say["enable"](Bool(data=False))
    until(node, lambda: others.status["mode"] == "disarmed")


def test_a_stop_goes_to_the_bridge_at_once_without_a_step(ends):
    _, node, others = ends
    node.step()
    others.say["stop"](Bool(data=True))
    assert (received := others.stop.wait(timeout_s=5)) and received.message.data is True


def test_it_leads_home_on_request(ends):
    arm, node, others = ends
    others.say["enable"](Bool(data=True))
    until(node, lambda: arm.mode is Mode.ARMED)
    arm.pose[:] = np.array(CONFIG.home) + [0.02, 0, 0, 0, 0, 0]
    others.say["home"](Bool(data=True))
    until(node, lambda: abs(arm.pose[0] - CONFIG.home[0]) < 0.003)


@pytest.mark.parametrize("calls", ["stop", "enable"])
def test_the_way_home_is_called_off_by_a_stop_and_by_disarming_and_nothing_older_is_done_after_it(ends, calls):
    arm, node, others = ends
    others.say["enable"](Bool(data=True))
    until(node, lambda: arm.mode is Mode.ARMED)
    arm.orders.clear()
    arm.pose[:] = np.array(CONFIG.home) + [0.2, 0, 0, 0, 0, 0]
    sent = []

    def send(action: np.ndarray) -> np.ndarray:
        sent.append(action)
        if len(sent) == 3:
            for order in ("enable", "home"):
                others.say[order](Bool(data=True))
            others.say[calls](Bool(data=calls == "stop"))
            time.sleep(0.05)  # over rclpy they come in another thread
        return action

    arm.send = send
    others.say["home"](Bool(data=True))
    until(node, lambda: len(sent) == 3 and arm.mode is not Mode.ARMED)
    for _ in range(20):
        node.step()
    assert len(sent) == 3 and arm.orders == []
    assert arm.mode is (Mode.HELD if calls == "stop" else Mode.DISARMED)


def test_orders_from_before_the_node_was_there_start_nothing_but_a_stop_counts():
    network, arm = MemoryNetwork(), Arm()
    others = Others(MemoryTransport(network))
    for order in ("enable", "home", "stop"):
        others.say[order](Bool(data=True))
    node = BridgeNode(arm, MemoryTransport(network))
    node.step()
    assert arm.orders == [] and arm.mode is Mode.DISARMED and others.stop.latest().message.data


def test_an_action_that_lay_there_is_not_executed():
    network, arm = MemoryNetwork(), Arm()
    others, node = Others(MemoryTransport(network)), BridgeNode(arm, MemoryTransport(network))
    others.act(Float64MultiArray(data=np.ones(4)))
    others.say["enable"](Bool(data=True))
    node.step()  # arms first, and the action was asked for before that
    assert arm.mode is Mode.ARMED and not arm.pose.any()
    assert "from before the last order" in others.status["refused"]
    others.act(Float64MultiArray(data=np.ones(4)))
    time.sleep(LIMITS.action_timeout_s + 0.02)
    node.step()
    assert not arm.pose.any() and "s ago, allowed are" in others.status["refused"]


def test_the_way_home_ends_with_the_node():
    network, arm, leaving = MemoryNetwork(), Arm(), threading.Event()
    others = Others(MemoryTransport(network))
    node = BridgeNode(arm, MemoryTransport(network), leaving=leaving.is_set)
    arm.mode, arm.pose[:] = Mode.ARMED, np.array(CONFIG.home) + [0.2, 0, 0, 0, 0, 0]
    leaving.set()
    others.say["home"](Bool(data=True))
    node.step()
    assert arm.mode is Mode.HELD and "called off" in others.status["refused"]


def test_the_orders_are_services_over_rclpy(monkeypatch):
    services = install_rclpy_double(monkeypatch)
    arm, wire = Arm(), RclpyTransport()
    try:
        node = BridgeNode(arm, wire, unguarded=True)
        assert set(services) == {f"/{NAME}/enable", f"/{NAME}/stop", f"/{NAME}/home"}
        stepping, done = threading.Event(), []

        def step() -> None:
            while not stepping.wait(0.002):
                node.step()

        thread = threading.Thread(target=step)
        thread.start()
        try:
            for request in (SimpleNamespace(data=True), SimpleNamespace(data=False)):
                done.append(services[f"/{NAME}/enable"](request, SimpleNamespace()))
        finally:
            stepping.set()
            thread.join()
        assert [answer.success for answer in done] == [True, True] and arm.orders == ["clear", "arm_unguarded"]
        assert arm.mode is Mode.DISARMED
        assert services[f"/{NAME}/stop"](SimpleNamespace(), SimpleNamespace()).success
        enable = services[f"/{NAME}/enable"]
        assert enable(SimpleNamespace(data=True), SimpleNamespace()).message == "the bridge does not answer"
        node._homing = True
        assert enable(SimpleNamespace(data=True), SimpleNamespace()).message == "the robot is on its way home"
    finally:
        wire.close()


@pytest.mark.parametrize(
    "words,line",
    [
        (["robot=frnka"], "unknown robot 'frnka': did you mean 'franka'?"),
        (["robt=franka"], "unknown setting 'robt': did you mean 'robot'?"),
        (["robot=franka", "--ros-args", "-r", "__node:=bridge"], "rclpy cannot be imported"),
    ],
)
def test_a_mistake_ends_in_one_line(words, line, capsys):
    if importlib.util.find_spec("rclpy") and "rclpy" in line:
        pytest.skip("rclpy is here")
    with pytest.raises(SystemExit) as end:
        main(words)
    error = capsys.readouterr().err
    assert end.value.code == 2 and line in error and error.count("\n") == 1


# ------------------------------------------------------------------ the ROS 2 package


@pytest.fixture
def setup_words(monkeypatch) -> dict:
    """What setup.py hands to setuptools."""
    said: dict = {}
    module = types.ModuleType("setuptools")
    module.setup = lambda **words: said.update(words)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "setuptools", module)
    runpy.run_path(str(PACKAGE / "setup.py"))
    return said


def test_the_manifest_is_one_of_ament_python_and_names_every_message_package():
    root = ElementTree.parse(PACKAGE / "package.xml").getroot()
    assert root.attrib["format"] == "3" and root.findtext("name") == PACKAGE.name
    assert root.findtext("export/build_type") == "ament_python" and root.findtext("license") == "Apache-2.0"
    needed = {kind.ros.split("/")[0] for kind in MESSAGES.values()} | {"rclpy", "std_srvs", "launch", "launch_ros"}
    assert {item.text for item in root.findall("exec_depend")} == needed


def test_the_package_installs_what_there_is(setup_words):
    root = ElementTree.parse(PACKAGE / "package.xml").getroot()
    assert (setup_words["name"], setup_words["version"]) == (root.findtext("name"), root.findtext("version"))
    assert setup_words["packages"] == [PACKAGE.name]
    files = [file for _, names in setup_words["data_files"] for file in names]
    assert all((PACKAGE / file).is_file() for file in files)
    assert {"package.xml", f"resource/{PACKAGE.name}", "launch/bridge.launch.py"} <= set(files)
    assert f"$base/lib/{PACKAGE.name}" in (PACKAGE / "setup.cfg").read_text()


def test_the_executable_is_our_main(setup_words, monkeypatch):
    (script,) = setup_words["entry_points"]["console_scripts"]
    name, target = script.split(" = ")
    module, function = target.split(":")
    monkeypatch.syspath_prepend(str(PACKAGE))
    assert name == "bridge" and getattr(importlib.import_module(module), function) is main


def test_the_launch_file_starts_it_with_words_that_it_takes(setup_words, monkeypatch, capsys):
    nodes, arguments = [], {}
    for name, members in {
        "launch": {"LaunchDescription": list},
        "launch.actions": {
            "DeclareLaunchArgument": lambda name, default_value, description: arguments.update({name: default_value})
        },
        "launch.substitutions": {"LaunchConfiguration": lambda name: arguments[name]},
        "launch_ros.actions": {"Node": lambda **words: nodes.append(words)},
        "launch_ros": {},
    }.items():
        module = types.ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)
    arguments.update({"robot": "nowhere", "domain": "3", "unguarded": "false"})
    runpy.run_path(str(PACKAGE / "launch" / "bridge.launch.py"))["generate_launch_description"]()
    (node,) = nodes
    assert node["package"] == PACKAGE.name and setup_words["entry_points"]["console_scripts"][0].startswith(
        node["executable"] + " ="
    )
    with pytest.raises(SystemExit):
        main(["".join(word) for word in node["arguments"]])
    assert "unknown robot 'nowhere'" in capsys.readouterr().err, "all three words are known"


def test_a_robot_without_home_says_so():
    arm = Arm()
    arm.config = replace(CONFIG, home=())
    network = MemoryNetwork()
    node, others = BridgeNode(arm, MemoryTransport(network)), Others(MemoryTransport(network))
    others.say["home"](Bool(data=True))
    node.step()
    assert "no home" in others.status["refused"]
