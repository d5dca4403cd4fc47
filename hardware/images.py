"""Camera messages as RGB, and the watch that notices a camera which lies: frozen, black, late or gone."""

from __future__ import annotations

import zlib

import numpy as np
from jaxtyping import UInt8

from robo_reward.hardware.messages import Header, Image
from robo_reward.hardware.transport import Received

CHANNELS: dict[str, tuple[int, tuple[int, int, int]]] = {
    "rgb8": (3, (0, 1, 2)), "bgr8": (3, (2, 1, 0)), "rgba8": (4, (0, 1, 2)), "bgra8": (4, (2, 1, 0)),
    "mono8": (1, (0, 0, 0)), "8UC3": (3, (2, 1, 0)),
}  # fmt: skip
"""Encoding -> channels, and which of them are red, green, blue."""
FROZEN_FRAMES, FROZEN_S = 3, 0.2
BLACK = 8
"""A frame none of whose values exceeds this is black."""


def rgb_of(image: Image) -> UInt8[np.ndarray, "H W 3"]:
    """The picture, or ValueError: an encoding that is not read, or fewer bytes than its size needs."""
    if image.encoding not in CHANNELS:
        raise ValueError(f"image encoding '{image.encoding}' is not read; choose {', '.join(CHANNELS)}")
    channels, order = CHANNELS[image.encoding]
    if image.step < image.width * channels or len(image.data) < image.height * image.step:
        raise ValueError(
            f"image of {image.height} x {image.width} {image.encoding}: {len(image.data)} bytes in rows of {image.step}"
        )
    rows = image.data[: image.height * image.step].reshape(image.height, image.step)
    return rows[:, : image.width * channels].reshape(image.height, image.width, channels)[..., order]


def image_of(rgb: UInt8[np.ndarray, "H W 3"], header: Header) -> Image:
    """A message with this picture."""
    height, width, _ = rgb.shape
    return Image(header, height, width, "rgb8", 0, 3 * width, rgb.reshape(-1))


def square(rgb: UInt8[np.ndarray, "H W 3"], size: int) -> UInt8[np.ndarray, "S S 3"]:
    """The middle of a picture, `size` pixels square; needs OpenCV where it has another size."""
    side = min(rgb.shape[:2])
    top, left = (rgb.shape[0] - side) // 2, (rgb.shape[1] - side) // 2
    cut = rgb[top : top + side, left : left + side]
    if side == size:
        return cut
    import cv2

    return np.asarray(cv2.resize(cut, (size, size), interpolation=cv2.INTER_AREA))


class CameraWatch:
    """Judges one camera each time it is looked at."""

    def __init__(self, name: str, rate_hz: float, size: tuple[int, int]) -> None:
        self._name, self._period, self._size = name, 1 / rate_hz, size
        self._seen, self._checksum, self._changed_s, self._repeats = 0, -1, -np.inf, 0

    def look(self, received: Received[Image] | None, now: float) -> UInt8[np.ndarray, "H W 3"]:
        """The newest picture, or ValueError with what is wrong with the camera.

        Late or gone: the newest frame is older than three periods. Frozen: no other picture for three frames or
        200 ms, whichever is later. Black: nothing to see in a frame.
        """
        if received is None:
            raise ValueError(f"camera {self._name}: no frame yet")
        age = now - received.time_s
        if age > 3 * self._period:
            expected = f"expected one every {self._period:.3f} s"
            raise ValueError(f"camera {self._name}: the newest frame is {age:.3f} s old, {expected}")
        image, (height, width) = received.message, self._size
        if (image.height, image.width) != self._size:
            size = f"{image.height} x {image.width}"
            raise ValueError(f"camera {self._name}: frames of {size}, expected {height} x {width}")
        rgb = rgb_of(image)
        if received.number != self._seen:
            new, checksum = received.number - self._seen, zlib.crc32(image.data.data)
            self._seen, self._repeats = received.number, self._repeats + new if checksum == self._checksum else 0
            if checksum != self._checksum:
                self._checksum, self._changed_s = checksum, received.time_s
            if self._repeats >= FROZEN_FRAMES and received.time_s - self._changed_s >= FROZEN_S:
                lasted = received.time_s - self._changed_s
                raise ValueError(f"camera {self._name}: the same picture {self._repeats + 1} times in {lasted:.3f} s")
            if rgb.max() <= BLACK:
                raise ValueError(f"camera {self._name}: black")
        return rgb
