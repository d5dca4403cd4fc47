"""The console's page in a browser: what every test of it does before and after its own part."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from robo_reward.console.web import Server, Site
from robo_reward.testing.browser import Browser

TOKEN = "a-token"


@contextmanager
def served(site: Site, port: int = 0) -> Iterator[str]:
    """The address of the site's page, token and all, while it is served."""
    server = Server(site, port)
    try:
        yield f"http://127.0.0.1:{server.port}/#{TOKEN}"
    finally:
        server.close()


def visit(url: str, do: Callable[[Browser], Awaitable[None]]) -> None:
    """Open the page in a browser of its own, and do something there."""

    async def go() -> None:
        async with Browser() as page:
            await page.open(url)
            await do(page)

    asyncio.run(go())


async def start_episode(page: Browser, seen: int = 3) -> None:
    """Arm and start by the keyboard, and wait until more than so many observations are drawn."""
    for wanted in ("armed", "running"):
        await page.key("Enter")
        await page.until(f"state.state === '{wanted}'")
    await page.until(f"state.oracle.length > {seen}")
