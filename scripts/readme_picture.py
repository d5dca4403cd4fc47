"""Draw docs/images/peg_insert.png: `python scripts/readme_picture.py [--seed N] [--out FILE]`.

One episode of PegInsert's scripted expert in the three views, and the oracle progress under them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from robo_reward.config import EnvConfig
from robo_reward.evaluation.plots import BLUE, GREY, STYLE
from robo_reward.evaluation.rollout import PolicyActor, run_episode
from robo_reward.runtime.tasks import make_env, scripted, task_of
from robo_reward.types import Episode

OUT = Path(__file__).parents[1] / "docs" / "images" / "peg_insert.png"
PIXELS = 200
"""Side of a shown frame; the reward model sees the same views at env.image_size."""
COLUMNS = 6


def record(seed: int) -> Episode:
    """The scripted expert from the initial state of `seed`, with the frames of every observation."""
    config = EnvConfig(image_size=PIXELS)
    env = make_env(config)
    episode = run_episode(env, PolicyActor(scripted(config, "expert", seed)), seed=seed, source="expert", query_every=1)
    env.close()
    return episode


def moments(episode: Episode) -> list[int]:
    """Where the frames are taken: start and end, the first observation of every stage, and the widest gaps' middles."""
    reached = np.maximum.accumulate(episode.stage)
    chosen = {0, len(episode), *(int(np.argmax(reached >= stage)) for stage in range(1, int(reached[-1]) + 1))}
    while len(chosen) < COLUMNS:
        ordered = sorted(chosen)
        widest = int(np.argmax(np.diff(ordered)))
        chosen.add((ordered[widest] + ordered[widest + 1]) // 2)
    return sorted(chosen)


def draw(episode: Episode, out: Path) -> None:
    """The frames in a grid, view by view, and the curve under them with the frames' places marked."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    steps, views, stages = moments(episode), list(episode.frames), task_of(EnvConfig()).stages
    with pyplot.rc_context(STYLE):
        figure = pyplot.figure(figsize=(2 * len(steps), 2 * len(views) + 2.6), dpi=100)
        grid = figure.add_gridspec(
            len(views) + 1, len(steps), height_ratios=[1] * len(views) + [1.1], wspace=0.03, hspace=0.03,
            left=0.055, right=0.995, top=0.955, bottom=0.065,
        )  # fmt: skip
        for row, view in enumerate(views):
            for column, step in enumerate(steps):
                axes = figure.add_subplot(grid[row, column])
                axes.imshow(episode.frames[view][step], interpolation="lanczos")
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set_visible(False)
                if column == 0:
                    axes.set_ylabel(view)
                if row == 0:
                    axes.set_title(f"{step / 20:.1f} s", fontsize=10)
        axes = figure.add_subplot(grid[len(views), :])
        seconds = np.arange(len(episode) + 1) / 20
        axes.plot(seconds, episode.oracle, color=BLUE, linewidth=2)
        axes.plot(seconds[steps], episode.oracle[steps], "o", color=BLUE)
        axes.set(xlim=(0, seconds[-1]), ylim=(0, 1.04), yticks=np.arange(len(stages) + 1) / len(stages))
        axes.set(xlabel=f'time [s], "{episode.instruction}"', ylabel="oracle progress")
        for number, name in enumerate(stages):
            axes.text(0.006 * seconds[-1], (number + 0.97) / len(stages), name, va="top", color=GREY)
        out.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(out, metadata={"Software": None})  # the same episode gives the same file
        pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seed", type=int, default=4, help="initial state and style of the expert")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    episode = record(arguments.seed)
    draw(episode, arguments.out)
    print(f"{arguments.out}: {len(episode)} steps, {'success' if episode.success else 'failure'}")


if __name__ == "__main__":
    main()
