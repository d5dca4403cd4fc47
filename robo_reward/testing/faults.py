"""What fault tests share: how many faults to inject, and the record of what became of them.

ROBO_REWARD_FAULT_TIER=nightly injects many more than a pull request does. ROBO_REWARD_FAULT_RECORD=FILE collects one
JSON line for every row of the fault table that a test has run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

TIERS = ("pull_request", "nightly")
TIER, RECORD = "ROBO_REWARD_FAULT_TIER", "ROBO_REWARD_FAULT_RECORD"


def fault_tier() -> str:
    """Which of `TIERS` this process runs; `pull_request` when nothing is said."""
    tier = os.environ.get(TIER, TIERS[0])
    if tier not in TIERS:
        raise ValueError(f"{TIER}={tier}: choose {' or '.join(TIERS)}")
    return tier


def fault_count(pull_request: int, nightly: int) -> int:
    """How many faults a test injects in this tier."""
    return pull_request if fault_tier() == TIERS[0] else nightly


def record_fault(
    row: str, what: str, *, injected: int, broken: Sequence[str], control_failed: int | None = None
) -> None:
    """Record one row's outcome, then raise AssertionError if it is a bad one; call it at the end of the fault test.

    Args:
        row: its number in the fault table, such as `S5`; several tests may add to one row.
        what: the faults and what they hit, in words.
        injected: how many faults there were, at least 1.
        broken: the cases in which the promise did not hold, one text each.
        control_failed: in how many cases the promise broke with the protection taken away; 0 says that the test
            shows nothing and fails it. None: the row has no control.

    Raises:
        AssertionError: a case broke, nothing was injected, or the control never failed.
    """
    line = {
        "row": row, "what": what, "injected": injected, "held": injected - len(broken),
        "control_failed": control_failed, "tier": fault_tier(),
    }  # fmt: skip
    if path := os.environ.get(RECORD):
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
    assert injected > 0, f"{row}: no fault was injected"
    assert not broken, f"{row}: {len(broken)} of {injected} cases broke, such as {'; '.join(broken[:3])}"
    assert control_failed != 0, f"{row}: the control held too, so this test shows nothing"
