"""What a person at a terminal sees: progress bars and single lines. Silent for pipes, logs and `quiet`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def say(line: str, quiet: bool = False) -> None:
    """One line on standard output, at once."""
    if not quiet:
        print(line, flush=True)


def progress(
    iterable: Iterable[T], total: int | None = None, description: str = "", quiet: bool = False
) -> Iterator[T]:
    """The iterable's elements, with a bar on standard error when that is a terminal and `quiet` is False.

    Args:
        iterable: what to go through.
        total: number of elements, when the iterable has no length.
        description: the words in front of the bar.
    """
    if quiet or not sys.stderr.isatty():
        yield from iterable
        return
    from tqdm import tqdm

    yield from tqdm(iterable, total=total, desc=description, dynamic_ncols=True, leave=False)
