"""Sizes of the extras and licences of the dependencies, as installed here: docs/install.md's table and NOTICE.

    python scripts/package_facts.py [--check]

Sizes are those of the installed files, dependencies included. `--check` changes nothing and says what is out of date.
"""

from __future__ import annotations

import argparse
import re
import sys
from importlib import metadata
from pathlib import Path

import tomllib
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- packages -->", "<!-- /packages -->"
LICENCE_OF = {"robosuite": "MIT", "torchcodec": "BSD-3-Clause"}
"""By their own files, where their metadata is silent."""
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
OWN = canonicalize_name(PROJECT["name"])


def requirements(name: str, extras: frozenset[str] = frozenset()) -> list[Requirement]:
    """What a distribution requires on this machine, with these extras of it; our own by pyproject.toml."""
    if name == OWN:
        own = [*PROJECT["dependencies"], *(text for e in extras for text in PROJECT["optional-dependencies"][e])]
        found = [Requirement(text) for text in own]
    else:
        found = [Requirement(text) for text in metadata.requires(name) or ()]
    return [r for r in found if r.marker is None or any(r.marker.evaluate({"extra": e}) for e in (extras or {""}))]


def closure(name: str, extras: frozenset[str]) -> set[str]:
    """Canonical names of all that is installed for it, ourselves left out; what is not here is passed over."""
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [(canonicalize_name(name), extras)]
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        try:
            wanted = requirements(node[0]) + (requirements(*node) if node[1] else [])
        except metadata.PackageNotFoundError:
            continue
        waiting += [(canonicalize_name(r.name), frozenset(r.extras)) for r in wanted]
    return {found for found, _ in seen if found != OWN and _installed(found)}


def size_mb(name: str) -> float:
    """[MB] of a distribution's installed files."""
    files = metadata.distribution(name).files or ()
    return sum(path.stat().st_size for file in files if (path := Path(str(file.locate()))).is_file()) / 1e6


def licence(name: str) -> str:
    """By its metadata: the expression, the classifiers, or the first line of the free text."""
    about = metadata.metadata(name)
    if expression := about.get("License-Expression"):
        return expression
    named = [c.rsplit(" :: ", 1)[-1] for c in about.get_all("Classifier") or () if c.startswith("License :: ")]
    named = [words for words in named if words != "OSI Approved"]
    text = (about.get("License") or "").strip().splitlines()
    return LICENCE_OF.get(name) or "; ".join(named) or (text[0][:60] if text else "see its files")


def _installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def table() -> str:
    """One row an extra."""
    base = closure(OWN, frozenset())
    sizes = {name: size_mb(name) for name in base}
    rows = ["| install | packages | MB | of it the largest |", "| --- | ---: | ---: | --- |"]
    for extra in ("", *PROJECT["optional-dependencies"]):
        names = base | closure(OWN, frozenset({extra})) if extra else base
        sizes |= {name: size_mb(name) for name in names - sizes.keys()}
        largest = sorted(names, key=lambda name: -sizes[name])[:3]
        shown = ", ".join(f"{name} {sizes[name]:.0f}" for name in largest)
        total = sum(sizes[name] for name in names)
        rows.append(f"| `robo_reward{f'[{extra}]' if extra else ''}` | {len(names)} | {total:,.0f} | {shown} |")
    return "\n".join(rows)


def notice() -> str:
    """The text of NOTICE: what the lock file installs, and under which licence."""
    lock = (ROOT / "requirements" / "lock-cpu-py311.txt").read_text("utf-8")
    names = [canonicalize_name(name) for name in re.findall(r"^([\w.-]+)==", lock, re.MULTILINE)]
    rows = [f"{name}: {licence(name)}" for name in sorted(names) if _installed(name)]
    head = "robo_reward\nCopyright the robo_reward authors. Licensed under the Apache License, Version 2.0.\n\n"
    note = (
        "No third-party code is part of this distribution. It is run with the packages below (those of\n"
        "requirements/lock-cpu-py311.txt), each under its own licence, as their metadata says:\n\n"
    )
    return head + note + "\n".join(rows) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    page = ROOT / "docs" / "install.md"
    old = page.read_text("utf-8")
    before, _, rest = old.partition(BEGIN)
    new = f"{before}{BEGIN}\n\n{table()}\n\n{END}{rest.partition(END)[2]}"
    for path, text in ((page, new), (ROOT / "NOTICE", notice())):
        if not path.is_file() or path.read_text("utf-8") != text:
            if check:
                sys.exit(f"{path.name} is out of date: run python scripts/package_facts.py")
            path.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
