"""The one door to the optional `lerobot` package."""

from __future__ import annotations

from typing import Any

from robo_reward.data.torchvision_cure import cure
from robo_reward.extras import missing_extra


def import_lerobot() -> Any:
    """Return the module `lerobot.datasets`, its submodules `lerobot_dataset`, `video_utils` and `utils` imported.

    Raises ValueError in one line when LeRobot, torch or one of LeRobot's own needs is missing.
    """
    try:
        import datasets

        datasets.disable_progress_bars()  # we show bars of our own
        cure()
        hide_transformers()
        import lerobot.datasets
        import lerobot.datasets.compute_stats
        import lerobot.datasets.lerobot_dataset
        import lerobot.datasets.utils
        import lerobot.datasets.video_utils
    except ImportError as error:
        raise ValueError(missing_extra(error) or f"LeRobot does not load: {error}") from error
    return lerobot.datasets


def hide_transformers() -> None:
    """Keep LeRobot from importing transformers: the module of its GR00T, which comes with every policy, does not load
    beside transformers 5, and nothing here runs LeRobot's own VLAs."""
    from lerobot.utils import import_utils

    import_utils._transformers_available = False
