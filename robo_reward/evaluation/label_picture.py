"""An episode's keyframes as one picture: the frames at them, a row a view, and the potential they lead to."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int64

from robo_reward.evaluation.plots import BLUE, GREY, INK, STYLE, VERMILION
from robo_reward.types import Frames

SHOWN = 10
"""Columns of frames at most; of more keyframes, some evenly chosen ones are shown."""


def label_picture(
    keyframes: Sequence[int],
    phi: Float[np.ndarray, "T+1"],
    low: Float[np.ndarray, "T+1"],
    high: Float[np.ndarray, "T+1"],
    *,
    frames: Frames,
    frame_steps: Int64[np.ndarray, "Q"],
    title: str = "",
    true: Sequence[int] = (),
) -> bytes:
    """The picture as PNG; the same data give the same file.

    keyframes: observation indices, the start included; phi, low, high: the label of every observation, in [0, 1];
    frames: view -> the episode's Q stored frames, of the observations `frame_steps`; without views there is only the
    curve. true: keyframes to compare with, marked at the bottom.
    Raises ValueError for keyframes outside the episode, and where matplotlib is missing.
    """
    steps = sorted(set(map(int, keyframes)))
    if not steps or steps[0] < 0 or steps[-1] >= len(phi):
        raise ValueError(f"keyframes {steps} outside the episode: expected at least one, within [0, {len(phi) - 1}]")
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ValueError(
            "pictures of labels need the package 'matplotlib': pip install 'robo_reward[learn]', or label.pictures=0"
        ) from error
    views = [view for view in frames if len(frame_steps)]
    shown = [steps[i] for i in np.unique(np.linspace(0, len(steps) - 1, SHOWN).round().astype(int))]
    figure = Figure(figsize=(9.0, 3.0 + 1.05 * len(views)), layout="constrained")
    with matplotlib.rc_context(STYLE):
        heights = [1.05] * len(views) + [3.0]
        grid = figure.add_gridspec(len(views) + 1, len(shown), height_ratios=heights)
        for row, view in enumerate(views):
            for column, step in enumerate(shown):
                axes = figure.add_subplot(grid[row, column])
                at = np.searchsorted(frame_steps, step, side="right") - 1
                axes.imshow(frames[view][max(int(at), 0)])
                axes.set(xticks=[], yticks=[])
                axes.grid(False)
                axes.spines[:].set_visible(False)
                if row == 0:
                    axes.set_title(f"{step}", fontsize=9)
                if column == 0:
                    axes.set_ylabel(view, fontsize=9)
        axes = figure.add_subplot(grid[len(views), :])
        time = np.arange(len(phi))
        axes.fill_between(time, low, high, color=GREY, alpha=0.25, lw=0, label="what the label leaves open")
        axes.plot(time, phi, color=BLUE, lw=2.0, label="potential")
        for number, step in enumerate(steps):
            axes.axvline(step, color=VERMILION, lw=1.0, ls="--", label=None if number else "keyframes")
        if len(true):
            axes.plot(list(true), np.zeros(len(true)), "^", color=INK, ms=7, clip_on=False, label="true keyframes")
        axes.set(xlabel="step", ylabel="potential", ylim=(-0.02, 1.03), xlim=(0, max(len(phi) - 1, 1)))
        axes.legend(loc="upper left", fontsize=8)
        figure.suptitle(title, fontsize=10)
        out = io.BytesIO()
        figure.savefig(out, format="png", dpi=100, metadata={"Software": None})
    return out.getvalue()
