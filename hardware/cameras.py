"""Where a robot's pictures come from: an image topic, or a camera of this computer read through OpenCV."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np

from robo_reward.hardware.images import image_of
from robo_reward.hardware.messages import Header, Image
from robo_reward.hardware.transport import Inbox, Received, Transport

DEVICE = "v4l2:"
"""Before the path of a camera of this computer: `v4l2:/dev/video0`."""


class DeviceCamera:
    """A camera of this computer, read in a thread of its own; what it shows is kept as an inbox keeps a topic's."""

    def __init__(self, path: str, rate_hz: float, size: tuple[int, int]) -> None:
        """Open it. ValueError when there is no such camera, or no OpenCV to read it with."""
        try:
            import cv2
        except ModuleNotFoundError:
            raise ValueError(
                f"camera {DEVICE}{path} is read through OpenCV: pip install opencv-python-headless"
            ) from None
        self.topic, height, width = DEVICE + path, *size
        self._capture: Any = cv2.VideoCapture(path)
        if not self._capture.isOpened():
            raise ValueError(f"camera {self.topic}: there is no such camera, or another program has it")
        for setting, value in (
            (cv2.CAP_PROP_FRAME_WIDTH, width), (cv2.CAP_PROP_FRAME_HEIGHT, height), (cv2.CAP_PROP_FPS, rate_hz),
            (cv2.CAP_PROP_BUFFERSIZE, 1),
        ):  # fmt: skip
            self._capture.set(setting, value)
        self._latest: Received[Image] | None = None
        self._arrived, self._closed = threading.Condition(), False
        self._thread = threading.Thread(target=self._read, name=self.topic, daemon=True)
        self._thread.start()

    def latest(self) -> Received[Image] | None:
        """The newest picture, or None when none came yet."""
        return self._latest

    def wait(self, after: int = 0, timeout_s: float = 1.0) -> Received[Image] | None:
        """The newest picture once it is later than number `after`, or None when the time is up."""
        with self._arrived:
            self._arrived.wait_for(lambda: self._latest is not None and self._latest.number > after, timeout_s)
            return self._latest if self._latest and self._latest.number > after else None

    def close(self) -> None:
        """Let the camera go."""
        self._closed = True
        self._thread.join(2.0)
        self._capture.release()

    def _read(self) -> None:
        while not self._closed:
            well, bgr = self._capture.read()
            if not well:  # unplugged: the watch notices that nothing new comes
                time.sleep(0.02)
                continue
            image = image_of(np.ascontiguousarray(bgr[..., ::-1]), Header())
            with self._arrived:
                number = self._latest.number + 1 if self._latest else 1
                self._latest = Received(image, time.monotonic(), number)
                self._arrived.notify_all()


def open_camera(
    source: str, transport: Transport, rate_hz: float, size: tuple[int, int]
) -> Inbox[Image] | DeviceCamera:
    """A camera by its topic, or by `v4l2:` and the path of a device; ValueError as `DeviceCamera`."""
    if source.startswith(DEVICE):
        return DeviceCamera(source.removeprefix(DEVICE), rate_hz, size)
    return transport.subscribe(source, Image)
