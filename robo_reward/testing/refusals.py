"""What a user is told: one clear line."""

from __future__ import annotations

import re
from collections.abc import Callable


def assert_one_line(call: Callable[[], object], match: str) -> None:
    """The call raises ValueError, whose text holds `match` (a regular expression), one line of under 400 characters."""
    try:
        call()
    except ValueError as error:
        text = str(error)
    else:
        raise AssertionError(f"nothing was refused; expected {match!r}")
    assert re.search(match, text), text
    assert "\n" not in text and len(text) < 400, text
