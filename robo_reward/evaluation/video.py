"""An episode as a video: all views side by side, and under them the progress curve up to the current frame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from robo_reward.data.video import write_video
from robo_reward.types import Frames

# Okabe and Ito's palette stays apart for colour-blind readers; the dashes do so in grey as well.
PHI_COLOUR = "#0072B2"
STYLES = (("#D55E00", 10), ("#009E73", 6), ("#CC79A7", 3), ("#E69F00", 16))
SUCCESS_COLOUR, FAILURE_COLOUR, NEUTRAL_COLOUR = "#00735C", "#B3400C", "#20262E"
INK, MUTED, GRID = "#20262E", "#667080", "#E3E7EC"
VIEW_HEIGHT, HEADER, CHART, GAP, LEGEND = 256, 40, 176, 8, 172
MIN_WIDTH = 640
HOLD_S = 1.5
"""How long the last frame stays, so that the outcome can be read."""


def write_episode_video(
    path: Path | str,
    frames: Frames,
    phi_N: Float[np.ndarray, "N"],
    *,
    fps: float,
    perspectives: Mapping[str, Float[np.ndarray, "N"]] | None = None,
    success: bool | None = None,
    title: str = "",
) -> Path:
    """Write one episode as an h264 mp4 that browsers play.

    Args:
        path: file to write; its folder is created.
        frames: view name -> (N, H, W, 3) uint8 RGB; the views may differ in size.
        phi_N: potential of each frame, in [0, 1].
        fps: frames per second of the recording (20 for every step, 5 for every fourth step at 20 Hz).
        perspectives: further curves by name, each (N,) in [0, 1], drawn thin and dashed.
        success: outcome, shown on the last frame; None shows nothing.
        title: one line above the views; a long one is cut.

    Returns:
        The path written.

    Raises:
        ValueError: no frames, numbers of frames that differ, a curve that is not finite, or fps <= 0.
    """
    curves = {
        "progress": np.asarray(phi_N, float),
        **{k: np.asarray(v, float) for k, v in (perspectives or {}).items()},
    }
    _check(frames, curves, fps)
    write_video(path, np.stack(list(_canvases(frames, curves, fps, success, title))), fps)
    return Path(path)


def _check(frames: Frames, curves: Mapping[str, np.ndarray], fps: float) -> None:
    if not frames or not all(len(view) for view in frames.values()):
        raise ValueError("a video needs at least one view with at least one frame")
    if not fps > 0:
        raise ValueError(f"fps is {fps}; allowed: above 0")
    count = len(next(iter(frames.values())))
    for name, view in frames.items():
        if view.dtype != np.uint8 or view.ndim != 4 or view.shape[3] != 3 or len(view) != count:
            raise ValueError(f"view {name} is {view.shape} {view.dtype}; expected ({count}, H, W, 3) uint8")
    for name, curve in curves.items():
        if curve.shape != (count,) or not np.isfinite(curve).all():
            raise ValueError(f"curve {name} has shape {curve.shape}; expected {count} finite values, one per frame")


def _canvases(
    frames: Frames, curves: Mapping[str, np.ndarray], fps: float, success: bool | None, title: str
) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """Yield the composed frames; the last one is held."""
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError as error:
        raise ValueError("episode videos need the package 'pillow': pip install 'robo_reward[learn]'") from error

    font, bold = ImageFont.load_default(14), ImageFont.load_default(17)
    sizes = {name: _even(VIEW_HEIGHT * view.shape[2] / view.shape[1]) for name, view in frames.items()}
    views_width = sum(sizes.values()) + GAP * (len(sizes) - 1)
    width = _even(max(MIN_WIDTH, views_width + 2 * GAP))
    height = _even(HEADER + VIEW_HEIGHT + CHART)
    count = len(curves["progress"])
    plot = (48, HEADER + VIEW_HEIGHT + 22, width - LEGEND, height - 30)  # left, top, right, bottom [px]
    background = Image.new("RGB", (width, height), "white")
    _draw_axes(ImageDraw.Draw(background), plot, count, fps, font)
    full = background.copy()
    _draw_curves(full, plot, curves)

    for i in range(count):
        canvas = background.copy()
        x = _x(plot, i, count)
        canvas.paste(full.crop((0, plot[1] - 6, x + 1, plot[3] + 7)), (0, plot[1] - 6))
        draw = ImageDraw.Draw(canvas)
        last = i == count - 1
        outcome, colour = "", INK
        if last and success is not None:
            outcome, colour = ("success", SUCCESS_COLOUR) if success else ("failure", FAILURE_COLOUR)
        clock = f"{outcome}   {i / fps:.1f} s".strip()
        right = width - GAP - draw.textlength(clock, bold)
        draw.text((right, 10), clock, colour, bold)
        draw.text((GAP, 10), _fit(draw, title, bold, right - 3 * GAP), INK, bold)
        left = (width - views_width) // 2
        for name, view in frames.items():
            picture = Image.fromarray(view[i]).resize((sizes[name], VIEW_HEIGHT), Image.Resampling.BICUBIC)
            canvas.paste(picture, (left, HEADER))
            label = draw.textlength(name, font)
            draw.rectangle((left, HEADER, left + label + 11, HEADER + 21), "#20262E")
            draw.text((left + 6, HEADER + 3), name, "white", font)
            left += sizes[name] + GAP
        if outcome:
            draw.rectangle((0, 0, width - 1, 4), colour)
        draw.line((x, plot[1], x, plot[3]), MUTED)
        y = _y(plot, curves["progress"][i])
        draw.ellipse((x - 5, y - 5, x + 5, y + 5), PHI_COLOUR, "white")
        _draw_legend(draw, plot, curves, i, font)
        composed = np.asarray(canvas)
        for _ in range(1 + round(HOLD_S * fps) * last):
            yield composed


def _draw_axes(draw, plot, count: int, fps: float, font) -> None:
    left, top, right, bottom = plot
    for value in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = _y(plot, value)
        draw.line((left, y, right, y), GRID if value else MUTED)
        if value in (0.0, 0.5, 1.0):
            draw.text((left - 8, y), f"{value:.1f}", MUTED, font, anchor="rm")
    seconds = (count - 1) / fps
    step = next((s for s in (0.5, 1, 2, 5, 10, 30, 60, 300) if seconds / s <= 8), 600)
    ticks = np.arange(0, seconds + 1e-9, step)
    for tick in ticks:
        x = left + (right - left) * tick / max(seconds, 1e-9)
        draw.text((x, bottom + 6), f"{tick:g}" + (" s" if tick == ticks[-1] else ""), MUTED, font, anchor="ma")
    draw.text((left, top - 20), "progress", MUTED, font)


def _draw_curves(image, plot, curves: Mapping[str, np.ndarray]) -> None:
    """Draw at twice the size and shrink: smooth lines without a drawing library of their own."""
    from PIL import Image, ImageDraw

    left, top, right, bottom = plot
    box = (left - 4, top - 6, right + 5, bottom + 7)
    big = image.crop(box).resize((2 * (box[2] - box[0]), 2 * (box[3] - box[1])))
    draw = ImageDraw.Draw(big)
    columns = np.arange(2 * left, 2 * right + 1)
    for rank, curve in reversed(list(enumerate(curves.values()))):
        places = [2 * _x(plot, i, len(curve)) for i in range(len(curve))]
        values = np.interp(columns, places, curve)
        points = [
            (x - 2 * box[0], 2 * _y(plot, v, exact=True) - 2 * box[1]) for x, v in zip(columns, values, strict=True)
        ]
        if rank == 0:
            draw.line(points, PHI_COLOUR, 6, joint="curve")
            continue
        colour, dash = STYLES[(rank - 1) % len(STYLES)]
        for start in range(0, len(points), 4 * dash):
            draw.line(points[start : start + 2 * dash + 1], colour, 4)
    image.paste(big.resize((box[2] - box[0], box[3] - box[1]), Image.Resampling.LANCZOS), box[:2])


def _draw_legend(draw, plot, curves: Mapping[str, np.ndarray], i: int, font) -> None:
    for rank, (name, curve) in enumerate(curves.items()):
        colour, dash = STYLES[(rank - 1) % len(STYLES)] if rank else (PHI_COLOUR, 99)
        x, y = plot[2] + 18, plot[1] + 8 + 24 * rank
        for start in range(0, 22, 2 * dash):
            draw.line((x + start, y, x + min(22, start + dash), y), colour, 2 if rank else 4)
        value = f"{curve[i]:.2f}"
        end = plot[2] + LEGEND - GAP
        draw.text((end, y), value, INK, font, anchor="rm")
        draw.text(
            (x + 30, y), _fit(draw, name, font, end - x - 36 - draw.textlength(value, font)), INK, font, anchor="lm"
        )


def _fit(draw, text: str, font, width: float) -> str:
    """The text, cut with an ellipsis to the width [px]."""
    text = " ".join(text.split())
    if draw.textlength(text, font) <= width:
        return text
    while text and draw.textlength(text + "...", font) > width:
        text = text[:-1]
    return text + "..."


def _x(plot, i: int, count: int) -> int:
    return round(plot[0] + (plot[2] - plot[0]) * i / max(count - 1, 1))


def _y(plot, value: float, exact: bool = False) -> float:
    y = plot[3] - (plot[3] - plot[1]) * min(max(float(value), 0.0), 1.0)
    return y if exact else round(y)


def _even(size: float) -> int:
    """Chroma subsampling needs even sides."""
    return 2 * round(size / 2)
