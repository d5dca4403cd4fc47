"""What `label` and `train-reward` show on a terminal: the labels they found, the pairs they drew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from robo_reward.terminal import say

BARS = "▁▂▃▄▅▆▇█"
PAIRS = {
    "forward_in_time": "forward in time",
    "reversed": "back in time (rewound)",
    "zero": "no hop",
    "stalled": "  of them, two frames of a stall",
    "anchored_start": "from a reference start",
    "anchored_goal": "from a reference goal",
    "failed_episode": "of failed episodes",
    "clipped_success": "of successes cut short",
    "wrong_instruction": "under a wrong instruction",
    "wrong_goal": "with a wrong goal",
    "own_reference": "with the episode's own references",
    "interval_label": "whose label is an interval",
}
LABELS = {
    "labelled_episodes": ("episodes", "{:,.0f}"),
    "exact_share": ("steps with an exact label", "{:.0%}"),
    "agreement_found": ("inner keyframes found, an episode", "{:.1f}"),
    "agreement_true": ("true ones", "{:.1f}"),
    "agreement_median_error_steps": ("median error [steps]", "{:.1f}"),
    "agreement_within_5_steps": ("true ones found within 5 steps", "{:.0%}"),
    "agreement_even_within_5_steps": ("  by even spacing, which sees nothing", "{:.0%}"),
}


def print_pairs(summary: Mapping[str, Any], quiet: bool) -> None:
    """The pairs that a reward model was trained on, and how even their bins were; nothing for one without pairs."""
    if "pairs_total" not in summary:
        return
    total = summary["pairs_total"]
    say(f"{'training pairs':<40}{total:>12,}", quiet)
    for key, label in PAIRS.items():
        say(f"  {label:<38}{summary[f'pairs_{key}'] / max(total, 1):>12.1%}", quiet)
    say(f"  {'balanced ones by hop, -1 to 1':<38}{bars(summary['pairs_hop_histogram'])}", quiet)
    say(f"  {'balanced ones by time gap':<38}{bars(summary['pairs_gap_histogram'])}", quiet)


def print_labels(summary: Mapping[str, Any], quiet: bool) -> None:
    """What was labelled, and how well the keyframes agree with true ones where there are any."""
    say(f"labels from {summary['label_source']}", quiet)
    for key, (label, form) in LABELS.items():
        if key in summary:
            say(f"  {label:<38}{form.format(summary[key]):>12}", quiet)


def bars(counts: Sequence[int]) -> str:
    """A bar for each count; the highest is as high as the largest count."""
    top = max(counts, default=0)
    return "".join(BARS[round((len(BARS) - 1) * count / top)] if top else BARS[0] for count in counts)
