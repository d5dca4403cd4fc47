"""Reading and writing mp4 files as RGB arrays."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8

from robo_reward.extras import missing_extra

BROWSER = {"crf": "18", "preset": "medium"}  # libx264: visually lossless, plays everywhere with yuv420p


@dataclass(frozen=True)
class Video:
    """Frames of one video, in order."""

    frames: UInt8[np.ndarray, "N H W 3"]
    """RGB."""
    frame_numbers: Int64[np.ndarray, "N"]
    """Position of each frame in the file, counted from 0."""
    fps: float
    """Frames a second of the file, before `stride`."""
    length: int
    """Number of frames in the file."""
    file_size: tuple[int, int]
    """Height and width of the file's frames [px]."""


def read_video(path: str | Path, *, stride: int = 1, size: int | tuple[int, int] | None = None) -> Video:
    """Read every `stride`-th frame of a video file, the first one included.

    size: height and width of the returned frames [px], one number for squares; default as in the file.
    Raises FileNotFoundError when there is no such file; ValueError when it holds no video, is damaged or cut off, or
    stride or size is below 1.
    """
    av = _av()
    path = Path(path)
    if stride < 1:
        raise ValueError(f"stride must be at least 1 frame, got {stride}")
    height, width = (size, size) if isinstance(size, int) else size or (None, None)
    if height is not None and width is not None and min(height, width) < 1:
        raise ValueError(f"size must be at least 1 px, got {size}")
    if not path.is_file():
        raise FileNotFoundError(f"video {path} does not exist: check the path")
    frames, numbers, length = [], [], 0
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise ValueError(f"{path} holds no video: give an mp4 file with one")
            stream = container.streams.video[0]
            fps, promised = float(stream.average_rate or 0), int(stream.frames)
            for frame in container.decode(stream):
                if frame.is_corrupt:  # the decoder fills in what it lacks, and says nothing
                    raise ValueError(f"video {path} is damaged: frame {length} does not decode; copy it again")
                if length % stride == 0:
                    scaled = frame.reformat(width=width, height=height, format="rgb24", interpolation="AREA")
                    frames.append(scaled.to_ndarray())
                    numbers.append(length)
                length += 1
        whole = length if length >= promised else _untrimmed_length(path)
    except av.FFmpegError as error:
        raise ValueError(
            f"video {path} does not decode after {length} frames: the file is damaged, cut off or no video"
        ) from error
    if length == 0 or whole < promised:  # a container without a frame count promises 0
        raise ValueError(f"video {path} is cut off: it holds {whole} of {promised or 'its'} frames; copy it again")
    return Video(np.stack(frames), np.array(numbers, np.int64), fps, length, (stream.height, stream.width))


def _untrimmed_length(path: Path) -> int:
    """Number of frames that decode with those that an edit list hides: trimming without encoding again leaves one."""
    with _av().open(str(path), options={"ignore_editlist": "1"}) as container:
        return sum(1 for _ in container.decode(video=0))


def write_video(path: str | Path, frames: UInt8[np.ndarray, "N H W 3"], fps: float) -> None:
    """Write RGB frames as an mp4 that every browser plays (H.264, 4:2:0; an odd height or width gets one more row or
    column of edge pixels). The file appears only when it is whole.

    Raises ValueError when frames are no uint8 (N, H, W, 3) with N >= 1, or fps is not positive.
    """
    frames = np.asarray(frames)
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or len(frames) == 0:
        raise ValueError(f"a video needs uint8 frames of shape (N, H, W, 3), got {frames.dtype} {frames.shape}")
    if not fps > 0:
        raise ValueError(f"fps must be positive, got {fps}")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    even = np.pad(frames, ((0, 0), (0, frames.shape[1] % 2), (0, frames.shape[2] % 2), (0, 0)), mode="edge")
    part = path.with_name(f".{path.name}.part.mp4")
    try:
        encode(part, even, fps, codec="libx264", pixel_format="yuv420p", options=BROWSER)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def resize(frames: UInt8[np.ndarray, "N H W 3"], size: int) -> UInt8[np.ndarray, "N size size 3"]:
    """RGB frames scaled to `size` px square as `read_video` does; those that have this size come back as they are."""
    if frames.shape[1:3] == (size, size):
        return frames
    shape: dict[str, Any] = {"width": size, "height": size, "format": "rgb24", "interpolation": "AREA"}
    whole = (_av().VideoFrame.from_ndarray(np.ascontiguousarray(frame), "rgb24") for frame in frames)
    return np.stack([frame.reformat(**shape).to_ndarray() for frame in whole])


def encode(
    path: Path,
    frames: UInt8[np.ndarray, "N H W 3"],
    fps: float,
    *,
    codec: str,
    pixel_format: str,
    options: Mapping[str, str],
) -> None:
    """Encode frames to `path` with FFmpeg's names for codec, pixel format and options, on one thread."""
    if codec == "libsvtav1":
        os.environ.setdefault("SVT_LOG", "1")  # errors only; it prints past FFmpeg's logging
    rate = Fraction(fps).limit_denominator(1001)
    with _av().open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream(codec, rate, options={"threads": "1", **options})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], pixel_format
        stream.time_base = 1 / rate
        for number, pixels in enumerate(frames):
            frame = _av().VideoFrame.from_ndarray(np.ascontiguousarray(pixels), "rgb24")
            frame.pts, frame.time_base = number, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _av() -> Any:
    try:
        import av
        import av.logging
    except ImportError as error:
        raise ValueError(missing_extra(error) or f"PyAV does not load: {error}") from error
    av.logging.set_libav_level(av.logging.ERROR)  # FFmpeg's statistics would be printed over progress bars
    return av
