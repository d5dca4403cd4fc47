"""Cameras of this computer, read through a stand-in for OpenCV."""

from __future__ import annotations

import sys
import threading
import types

import numpy as np
import pytest

from robo_reward.hardware.cameras import DeviceCamera, open_camera
from robo_reward.hardware.images import CameraWatch, rgb_of
from robo_reward.hardware.memory_transport import MemoryTransport
from robo_reward.hardware.transport import Inbox


class Capture:
    """A camera that shows picture after picture as long as it is plugged in."""

    made: list[Capture] = []

    def __init__(self, path: str) -> None:
        self.path, self.settings, self.released, self.count = path, {}, False, 0
        self.plugged = threading.Event()
        self.plugged.set()
        self.made.append(self)

    def isOpened(self) -> bool:
        return self.path == "/dev/video0"

    def set(self, key: str, value: float) -> None:
        self.settings[key] = value

    def read(self):
        threading.Event().wait(0.002)
        self.count += 1
        blue = np.zeros((48, 64, 3), np.uint8)
        blue[..., 0], blue[0, 0] = 200, self.count % 250
        return (True, blue) if self.plugged.is_set() else (False, None)

    def release(self) -> None:
        self.released = True


@pytest.fixture(autouse=True)
def opencv(monkeypatch):
    names = ("CAP_PROP_FRAME_WIDTH", "CAP_PROP_FRAME_HEIGHT", "CAP_PROP_FPS", "CAP_PROP_BUFFERSIZE")
    monkeypatch.setitem(sys.modules, "cv2", types.SimpleNamespace(VideoCapture=Capture, **{n: n for n in names}))
    monkeypatch.setattr(Capture, "made", [])


def test_a_camera_of_this_computer_is_asked_for_its_size_and_seen_in_rgb():
    camera = open_camera("v4l2:/dev/video0", MemoryTransport(), 30.0, (48, 64))
    assert isinstance(camera, DeviceCamera)
    received = camera.wait(timeout_s=5.0)
    assert received and rgb_of(received.message)[10, 10].tolist() == [0, 0, 200]
    assert camera.wait(received.number, 5.0).number > received.number
    camera.close()
    capture = Capture.made[0]
    assert capture.settings["CAP_PROP_FRAME_WIDTH"] == 64 and capture.settings["CAP_PROP_FRAME_HEIGHT"] == 48
    assert capture.released


def test_an_unplugged_one_shows_nothing_new_and_the_watch_says_so():
    camera = open_camera("v4l2:/dev/video0", MemoryTransport(), 30.0, (48, 64))
    received = camera.wait(timeout_s=5.0)
    Capture.made[0].plugged.clear()
    while camera.wait(camera.latest().number, 0.1) is not None:
        pass
    with pytest.raises(ValueError, match="camera front: the newest frame is"):
        CameraWatch("front", 30.0, (48, 64)).look(camera.latest(), camera.latest().time_s + 0.2)
    assert received is not None
    camera.close()


def test_one_that_is_not_there_is_said_in_one_line_and_other_sources_are_topics():
    with pytest.raises(ValueError, match="camera v4l2:/dev/video7: there is no such camera"):
        open_camera("v4l2:/dev/video7", MemoryTransport(), 30.0, (48, 64))
    assert isinstance(open_camera("front/image_raw", MemoryTransport(), 30.0, (48, 64)), Inbox)


def test_without_opencv_the_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ValueError, match="pip install opencv-python-headless"):
        open_camera("v4l2:/dev/video0", MemoryTransport(), 30.0, (48, 64))
