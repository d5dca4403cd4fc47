"""Camera messages as pictures, and the watch that must not believe a camera which lies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from robo_reward.hardware import images
from robo_reward.hardware.images import CameraWatch, image_of, rgb_of
from robo_reward.hardware.messages import Header, Image
from robo_reward.hardware.transport import Received
from robo_reward.testing.faults import fault_count, record_fault

RATE = 30.0


def picture(seed: int, size: tuple[int, int] = (24, 32)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


@pytest.mark.parametrize("encoding,channels", [("rgb8", 3), ("bgr8", 3), ("rgba8", 4), ("bgra8", 4), ("mono8", 1)])
@pytest.mark.parametrize("padding", [0, 5])
def test_every_encoding_is_read_also_with_padded_rows(encoding, channels, padding):
    rgb = picture(0)
    if encoding == "mono8":
        rgb = np.repeat(rgb[..., :1], 3, axis=2)
    wire = rgb[..., ::-1] if encoding.startswith("bgr") else rgb
    wire = np.concatenate([wire, np.full((24, 32, 1), 9, np.uint8)], axis=2)[..., :channels] if channels == 4 else wire
    rows = np.pad(wire[..., :channels].reshape(24, -1), ((0, 0), (0, padding)))
    message = Image(Header(), 24, 32, encoding, 0, rows.shape[1], rows.reshape(-1))
    np.testing.assert_array_equal(rgb_of(message), rgb)


def test_a_picture_goes_there_and_back():
    np.testing.assert_array_equal(rgb_of(image_of(picture(1), Header())), picture(1))


@pytest.mark.parametrize(
    "change,words",
    [
        ({"encoding": "16UC1"}, "image encoding '16UC1' is not read; choose rgb8"),
        ({"step": 3}, "in rows of 3"),
        ({"height": 25}, "image of 25 x 32 rgb8: 2304 bytes"),
    ],
)
def test_a_message_that_is_no_picture_is_refused(change, words):
    with pytest.raises(ValueError, match=words):
        rgb_of(replace(image_of(picture(0), Header()), **change))


class Camera:
    """A camera looked at 20 times a second by its watch, until that objects."""

    def __init__(self, seed: int) -> None:
        self.rng, self.watch = np.random.default_rng(seed), CameraWatch("wrist", RATE, (24, 32))
        self.frames, self.newest = 0, None
        self.now = self.next_frame = 50.0

    def run(self, seconds: float, frame) -> tuple[float, str] | None:
        """When, after how many seconds, and with which words the watch objects; None when it does not."""
        began = self.now
        while self.now - began < seconds:
            self.now += 1 / 20 + self.rng.uniform(-0.01, 0.01)
            while self.next_frame <= self.now:
                if (rgb := frame(self.frames)) is not None:
                    self.frames += 1
                    self.newest = Received(image_of(rgb, Header()), self.next_frame, self.frames)
                self.next_frame += 1 / RATE + self.rng.uniform(-0.003, 0.003)
            try:
                self.watch.look(self.newest, self.now)
            except ValueError as error:
                return self.now - began, str(error)
        return None


FAULTS = {
    "frozen": (lambda last, index: last, "the same picture"),
    "black": (lambda last, index: np.zeros_like(last), "black"),
    "unplugged": (lambda last, index: None, "s old"),
    "late": (lambda last, index: picture(index) if index % 40 == 0 else None, "s old"),
}


@pytest.mark.parametrize("tried", [10, pytest.param(fault_count(100, 1000), marks=pytest.mark.fault)])
@pytest.mark.parametrize("kind", FAULTS)
def test_a_camera_that_lies_is_noticed_within_three_frames_or_200_ms(kind, tried, monkeypatch):
    """Row C1. The control: a watch that takes any picture it has."""
    breaks, words = FAULTS[kind]

    def lies(seed: int, blind: bool = False) -> str:
        camera = Camera(seed)
        camera.watch._period = np.inf if blind else 1 / RATE
        if objection := camera.run(1.0 + seed / 100, picture):
            return f"{seed}: a good camera: {objection}"
        last = rgb_of(camera.newest.message)
        found = camera.run(2.0, lambda index: breaks(last, index))
        # 200 ms of the fault, and the period in which it began and that in which it is looked at
        unnoticed = found is None or words not in found[1] or found[0] > 0.2 + 1 / RATE + 1 / 20 + 0.02
        return f"{seed}: {found}" if unnoticed else ""

    broken = [case for seed in range(tried) if (case := lies(seed))]
    monkeypatch.setattr(images, "FROZEN_FRAMES", 10**9)
    monkeypatch.setattr(images, "BLACK", -1)
    control = sum(bool(lies(seed, blind=True)) for seed in range(5))
    record_fault("C1", f"camera {kind}", injected=tried, broken=broken, control_failed=control)


def test_a_scene_that_stands_still_under_a_camera_with_noise_is_no_frozen_camera():
    base = picture(0).astype(int)
    camera = Camera(0)
    noisy = lambda index: np.clip(base + np.random.default_rng(index).integers(-1, 2, base.shape), 0, 255)  # noqa: E731
    assert camera.run(2.0, lambda index: noisy(index).astype(np.uint8)) is None


def test_no_frame_another_size_or_encoding_is_told():
    watch = CameraWatch("wrist", RATE, (24, 32))
    with pytest.raises(ValueError, match="camera wrist: no frame yet"):
        watch.look(None, 0.0)
    with pytest.raises(ValueError, match="camera wrist: frames of 12 x 32, expected 24 x 32"):
        watch.look(Received(image_of(picture(0, (12, 32)), Header()), 0.0, 1), 0.0)
    with pytest.raises(ValueError, match="16UC1"):
        watch.look(Received(replace(image_of(picture(0), Header()), encoding="16UC1"), 0.0, 1), 0.0)
