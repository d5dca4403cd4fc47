"""Encodes an episode's videos in place of LeRobot's own encoder, whose quality cannot be set from outside.

LeRobot's fixed setting (AV1, halved colour resolution, crf 30) changes single pixels of the three 84 x 84 views of
PegInsert by up to 239 grey levels (PSNR 32 dB), and a reward model trained on such frames meets other ones when it
runs. "exact" is H.264 at full colour resolution with quantiser 0: off by at most 2 levels (53 dB), 74 instead of 41 kB
for 91 frames, written in a quarter of the time. LeRobot's reader decodes it like any other file; few browsers play it.
"compact" is LeRobot's setting, which they do play.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any, Literal

import numpy as np

from robo_reward.data.lerobot_package import import_lerobot
from robo_reward.data.video import encode

Fidelity = Literal["exact", "compact"]
SETTINGS: dict[Fidelity, dict[str, Any]] = {
    "exact": {"codec": "libx264", "pixel_format": "yuv444p", "options": {"crf": "0", "g": "10", "preset": "superfast"}},
    "compact": {
        "codec": "libsvtav1",
        "pixel_format": "yuv420p",
        "options": {"crf": "30", "g": "2", "preset": "12", "svtav1-params": "lp=1"},
    },
}

SAMPLED = 10  # frames of an episode and view that enter the image statistics


class EpisodeEncoder:
    """What `LeRobotDataset` asks of its streaming encoder; keeps an episode's frames and encodes them at its end.

    Unlike LeRobot's it drops no frame when it falls behind, and it takes the image statistics from a sample of frames
    (LeRobot does so too when it does not stream; from every frame they would cost more than the encoding).
    """

    def __init__(self, fps: int, fidelity: Fidelity) -> None:
        self._fps, self._fidelity = fps, fidelity
        self._frames: dict[str, list[np.ndarray]] = {}
        self._folder = Path()

    def start_episode(self, video_keys: list[str], temp_dir: Path) -> None:
        """Begin an episode; its files go to a folder of their own under `temp_dir`."""
        self._frames, self._folder = {key: [] for key in video_keys}, Path(temp_dir)

    def feed_frame(self, video_key: str, image: np.ndarray) -> None:
        """Take one uint8 (H, W, 3) frame; it must not change until the episode ends."""
        self._frames[video_key].append(image)

    def finish_episode(self) -> dict[str, tuple[Path, dict[str, np.ndarray]]]:
        """Encode; return video key -> (file, statistics per channel in 0..255)."""
        stats = import_lerobot().compute_stats
        results = {}
        for key, images in self._frames.items():
            frames = np.stack(images)
            path = Path(tempfile.mkdtemp(dir=self._folder)) / "episode.mp4"  # LeRobot removes the folder too
            try:
                encode(path, frames, self._fps, **SETTINGS[self._fidelity])
            except BaseException:
                shutil.rmtree(path.parent)
                raise
            numbers = np.linspace(0, len(frames) - 1, min(len(frames), SAMPLED)).round().astype(np.int64)
            sample = frames[numbers].transpose(0, 3, 1, 2)
            results[key] = path, stats.get_feature_stats(sample, axis=(0, 2, 3), keepdims=True)
        self._frames = {}
        return results

    def cancel_episode(self) -> None:
        """Forget the frames of the unfinished episode."""
        self._frames = {}

    def close(self) -> None:
        """Nothing is held between episodes."""
