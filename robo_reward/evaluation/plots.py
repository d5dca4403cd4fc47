"""Plots as SVG text: the one module of this room that needs matplotlib."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from robo_reward.evaluation.statistics import wilson_interval

# Okabe and Ito: apart for colour-blind readers. The trained policy is always the blue.
BLUE, VERMILION, GREEN, GREY, INK = "#0072B2", "#D55E00", "#009E73", "#8A94A3", "#20262E"
STYLE: Any = {
    "font.family": ["DejaVu Sans"],
    "font.size": 10,
    "axes.edgecolor": "#B8C0CA",
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E9ECF0",
    "xtick.color": "#667080",
    "ytick.color": "#667080",
    "text.color": INK,
    "text.parse_math": False,  # an instruction with two dollar signs is no formula
    "legend.frameon": False,
    "svg.hashsalt": "robo_reward",  # the same data give the same file
}

DASHES = ((0, (1, 1)), (0, (4, 1.5)), (0, (6, 1.5, 1, 1.5)), (0, (2, 2)), (0, (8, 2)), (0, (1, 3)))


def learning_curve(
    rollouts: Sequence[int],
    successes: Sequence[int],
    episodes: Sequence[int] | int,
    *,
    base: float | None = None,
    controls: Mapping[str, tuple[Sequence[int], Sequence[float]]] | None = None,
    target: float | None = None,
) -> str:
    """Success against online rollouts with its 95% Wilson band.

    Args:
        rollouts: online rollouts at each evaluation, (E,).
        successes: successful evaluation episodes, (E,).
        episodes: evaluation episodes, one number or (E,).
        base: success rate of the frozen base in [0, 1], a horizontal line.
        controls: name -> (rollouts, success rates in [0, 1]), thin lines.
        target: success rate in [0, 1] to mark.

    Returns:
        SVG text.

    Raises:
        ValueError: no evaluations, rows of unequal length, or counts outside their ranges.
    """
    count = len(rollouts)
    totals = [episodes] * count if isinstance(episodes, int) else list(episodes)
    if not count or len(successes) != count or len(totals) != count:
        raise ValueError(
            f"{count} rollout counts, {len(successes)} success counts and {len(totals)} episode counts; "
            "allowed: equal numbers, at least one"
        )
    bands = [wilson_interval(int(k), int(n)) for k, n in zip(successes, totals, strict=True)]
    rates = [k / n for k, n in zip(successes, totals, strict=True)]
    with _svg() as (axes, svg):
        if target is not None:
            axes.axhline(target, color=GREY, lw=1, ls=":", zorder=1)
            place = {"xycoords": ("axes fraction", "data"), "va": "bottom", "color": "#667080", "fontsize": 9}
            axes.annotate(f"target {target:.0%}", (0.01, target), **place)
        if base is not None:
            axes.axhline(base, color=VERMILION, lw=1.6, ls="--", label=f"base policy, {base:.0%}")
        for (name, (x, y)), dash in zip((controls or {}).items(), cycle(DASHES)):
            axes.plot(x, y, color="#667080", lw=1.3, ls=dash, label=name)
        axes.fill_between(rollouts, *zip(*bands, strict=True), color=BLUE, alpha=0.16, lw=0)
        axes.plot(rollouts, rates, color=BLUE, lw=2.2, marker="o", ms=5, label="trained policy, 95% band")
        axes.set(xlabel="online rollouts", ylabel="success", ylim=(-0.02, 1.03))
        axes.set_yticks(np.linspace(0, 1, 6), [f"{tick}%" for tick in range(0, 101, 20)])
        axes.legend(loc="lower right" if rates[-1] > 0.5 else "upper right", fontsize=9)
    return svg()


def progress_curves(
    successes: Sequence[ArrayLike], failures: Sequence[ArrayLike], *, seconds_per_step: float, shown: int = 40
) -> str:
    """Potential against time: each episode thin, their median thick; an episode that ended keeps its last value.

    Args:
        successes: potential tracks in [0, 1] of successful episodes, lengths may differ.
        failures: potential tracks of failed episodes.
        seconds_per_step: time between two values [s].
        shown: at most so many thin lines for each outcome.

    Returns:
        SVG text.

    Raises:
        ValueError: no episodes at all.
    """
    if not len(successes) and not len(failures):
        raise ValueError("no episodes to plot; allowed: at least one success or failure")
    with _svg() as (axes, svg):
        for tracks, colour, dash, name in (
            (failures, VERMILION, "--", "failures"),
            (successes, BLUE, "-", "successes"),
        ):
            rows = [np.asarray(track, float) for track in tracks]
            for row in rows[:shown]:
                axes.plot(np.arange(len(row)) * seconds_per_step, row, color=colour, alpha=0.16, lw=0.9)
            if rows:
                length = max(len(row) for row in rows)
                median = np.median([np.pad(row, (0, length - len(row)), "edge") for row in rows], axis=0)
                label = f"{name}, median of {len(rows)}"
                axes.plot(np.arange(length) * seconds_per_step, median, color=colour, lw=2.4, ls=dash, label=label)
        axes.set(xlabel="time [s]", ylabel="progress", ylim=(-0.02, 1.03))
        axes.set_xlim(left=0)
        axes.legend(loc="lower right", fontsize=9)
    return svg()


def performance_profiles(profiles: Mapping[str, ArrayLike], thresholds: Sequence[float]) -> str:
    """Share of runs above each success rate, a line for every method with its band.

    Args:
        profiles: method -> (T, 3) of share, low and high, from `statistics.performance_profile`.
        thresholds: success rates in [0, 1], (T,).

    Returns:
        SVG text.
    """
    with _svg() as (axes, svg):
        for (name, profile), colour, dash in zip(
            profiles.items(), cycle((BLUE, VERMILION, GREEN, GREY)), cycle(("-", *DASHES))
        ):
            share, low, high = np.asarray(profile, float).T
            axes.fill_between(thresholds, low, high, color=colour, alpha=0.16, lw=0, step="post")
            axes.step(thresholds, share, where="post", color=colour, ls=dash, lw=2, label=name)
        axes.set(xlabel="success", ylabel="share of seeds above", ylim=(-0.02, 1.03), xlim=(0, 1))
        axes.legend(loc="lower left", fontsize=9)
    return svg()


def reliability(
    confidence: Sequence[float], error: Sequence[float], bounds: Sequence[tuple[float | None, float | None]]
) -> str:
    """Mean error against confidence with 95% intervals.

    Args:
        confidence: mean confidence of each group of queries, in [0, 1].
        error: mean |value - true progress| of each group.
        bounds: (low, high) of each error; None where the interval is undefined.

    Returns:
        SVG text.

    Raises:
        ValueError: no groups, or rows of unequal length.
    """
    if not len(confidence) or not len(confidence) == len(error) == len(bounds):
        raise ValueError(
            f"{len(confidence)} confidences, {len(error)} errors and {len(bounds)} intervals; "
            "allowed: equal numbers, at least one"
        )
    known = [
        (e if low is None else low, e if high is None else high) for e, (low, high) in zip(error, bounds, strict=True)
    ]
    with _svg() as (axes, svg):
        for x, (low, high) in zip(confidence, known, strict=True):
            axes.plot([x, x], [low, high], color=INK, lw=1.2)
        axes.plot(confidence, error, color=BLUE, lw=2.2, marker="o", ms=5)
        axes.set(xlabel="confidence", ylabel="mean error of progress")
        axes.set_ylim(bottom=0)
    return svg()


def confusion(
    values: Sequence[Sequence[float] | None], names: Sequence[str], *, rows: str, columns: str, counts: bool = False
) -> str:
    """A square matrix as shaded cells with their numbers.

    Args:
        values: one row for each name, in [0, 1], or counts; None for a row without cases.
        names: of rows and columns.
        rows, columns: what they stand for.
        counts: whether the values are counts; a row is then shaded by its shares.

    Returns:
        SVG text.

    Raises:
        ValueError: the matrix is not square with a row for each name.
    """
    size = len(names)
    if not size or len(values) != size or any(row is not None and len(row) != size for row in values):
        raise ValueError(f"a matrix for {size} names needs as many rows of as many numbers")
    table = np.array([[np.nan] * size if row is None else row for row in values], dtype=float)
    shade = table / np.maximum(table.sum(axis=1, keepdims=True), 1) if counts else table
    with _svg((2.6 + 0.95 * size, 1.5 + 0.62 * size)) as (axes, svg):
        axes.imshow(shade, cmap="Blues", vmin=0, vmax=1.15, aspect="auto")
        for (i, j), value in np.ndenumerate(table):
            if np.isfinite(value):
                text = f"{value:.0f}" if counts else f"{value:.2f}"
                axes.text(j, i, text, ha="center", va="center", color="white" if shade[i, j] > 0.6 else INK)
        short = [name if len(name) <= 34 else name[:33] + "\u2026" for name in names]
        axes.set_xticks(range(size), [textwrap.fill(name, 16) for name in short], fontsize=9)
        axes.set_yticks(range(size), [textwrap.fill(name, 20) for name in short], fontsize=9)
        axes.set(xlabel=columns, ylabel=rows)
        axes.grid(False)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
    return svg()


TIME_AXIS = (0.09, 0.985)
"""Where the time axis of `reward_terms` begins and ends, in shares of the picture's width."""


def reward_terms(panels: Mapping[str, Mapping[str, ArrayLike]], *, seconds_per_step: float) -> str:
    """Curves over the time of one episode, a panel under the other, all on the axis of `TIME_AXIS`.

    Args:
        panels: title -> (name -> values): of the observations 0..T, or of the T steps between them, drawn as bars.
        seconds_per_step: time between two observations [s].

    Returns:
        SVG text.
    """
    length = max(len(np.asarray(values)) for curves in panels.values() for values in curves.values())
    inches = 1.45 * len(panels) + 0.5
    margins = {"left": TIME_AXIS[0], "right": TIME_AXIS[1], "top": 1 - 0.3 / inches, "bottom": 0.5 / inches}
    with _svg((9.6, inches), len(panels), {**margins, "hspace": 0.5}) as (grid, svg):
        for axes, (title, curves) in zip(np.atleast_1d(grid), panels.items(), strict=True):
            for (name, values), colour in zip(curves.items(), (BLUE, VERMILION, GREEN, GREY), strict=False):
                y = np.asarray(values, float)
                time = np.arange(len(y)) * seconds_per_step
                if len(y) == length:
                    axes.plot(time, y, color=colour, lw=1.8, label=name)
                else:
                    axes.bar(time + seconds_per_step, y, width=seconds_per_step, color=colour, label=name)
            axes.set_title(title, fontsize=9.5, loc="left", pad=3)
            axes.set_xlim(0, max(length - 1, 1) * seconds_per_step)
            if len(curves) > 1:
                axes.legend(loc="upper left", fontsize=8, ncols=len(curves))
        axes.set_xlabel("time [s]")
    return svg()


def curves_of_groups(groups: Mapping[str, Sequence[tuple[Sequence[int], Sequence[float]]]]) -> str:
    """Success against online rollouts of several runs a group: thin lines, and their mean where all were evaluated.

    Args:
        groups: name -> (rollouts, success rates in [0, 1]) of each run.

    Returns:
        SVG text.
    """
    colours = cycle((BLUE, VERMILION, GREEN, "#CC79A7", "#56B4E9", GREY))
    with _svg((8.4, 4.2)) as (axes, svg):
        for (name, runs), colour in zip(groups.items(), colours, strict=False):
            tables = [dict(zip(rollouts, rates, strict=True)) for rollouts, rates in runs]
            shared = sorted(set.intersection(*(set(table) for table in tables)))
            for rollouts, rates in runs:
                axes.plot(rollouts, rates, color=colour, lw=0.8, alpha=0.45)
            mean = [float(np.mean([table[x] for table in tables])) for x in shared]
            axes.plot(shared, mean, color=colour, lw=2.2, label=f"{textwrap.shorten(name, 60)} ({len(runs)})")
        axes.set(xlabel="online rollouts", ylabel="success", ylim=(-0.03, 1.03))
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)
    return svg()


@contextmanager
def _svg(
    size: tuple[float, float] = (7.2, 3.6), rows: int = 1, margins: Mapping[str, float] | None = None
) -> Iterator[tuple[Any, Callable[[], str]]]:
    """Axes in the house style, and a function that returns the finished plot once the block is left.

    rows: so many axes below each other. margins: where they begin and end, in shares of the picture; None: as it fits.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure  # without pyplot: no window system and no global list of figures
    except ImportError as error:
        raise ValueError("plots need the package 'matplotlib': pip install 'robo_reward[learn]'") from error

    figure, out = Figure(figsize=size, layout=None if margins else "constrained"), io.StringIO()
    with matplotlib.rc_context(STYLE):
        if margins:
            figure.subplots_adjust(**margins)
        yield figure.subplots(rows, sharex=True), out.getvalue
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
