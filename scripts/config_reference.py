"""Write the reference in docs/configuration.md from robo_reward/config/ and conf/: `... [--check]`.

Every block between `<!-- reference:NAME -->` and `<!-- /reference -->` is made anew; the text around it is a person's.
`--check` changes nothing and exits with 1 when the page differs.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

import yaml

import robo_reward.config
from robo_reward.cli import COMMANDS
from robo_reward.config import Config

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"(<!-- reference:(\w+) -->\n).*?(<!-- /reference -->)", re.DOTALL)
TYPES = {int: "whole number", float: "number", bool: "true or false", str: "text", Any: "value"}


def docstrings() -> dict[str, dict[str, str]]:
    """Class -> attribute -> the text under it in robo_reward/config/; the class's own docstring under ''."""
    found: dict[str, dict[str, str]] = {}
    sources = sorted(Path(robo_reward.config.__file__).parent.glob("*.py"))
    for node in (node for source in sources for node in ast.parse(source.read_text("utf-8")).body):
        if not isinstance(node, ast.ClassDef):
            continue
        texts = found[node.name] = {"": ast.get_docstring(node) or ""}
        for attribute, text in zip(node.body, node.body[1:], strict=False):
            if (
                isinstance(attribute, ast.AnnAssign)
                and isinstance(attribute.target, ast.Name)
                and isinstance(text, ast.Expr)
                and isinstance(text.value, ast.Constant)
            ):
                texts[attribute.target.id] = " ".join(str(text.value.value).split())
    return found


def allowed(hint: Any, limits: Mapping[str, Any]) -> str:
    """Type and range of a setting in words."""
    if limits.get("options") is not None:
        return ", ".join(f"`{option}`" for option in limits["options"])
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return f"{allowed(next(a for a in arguments if a is not type(None)), limits)}, or `null`"
    if typing.get_origin(hint) is tuple:
        return f"list of {allowed(arguments[0], limits)}"
    if typing.get_origin(hint) is Mapping:
        return f"{allowed(arguments[1], limits)} for each name"
    words = {"low": "from", "above": "above", "high": "to"}
    bounds = [f"{word} {limits[key]:,}" for key, word in words.items() if limits.get(key) is not None]
    return " ".join([TYPES[hint], *bounds])


def written(value: Any) -> str:
    """A default as one types it on the command line."""
    if value is None or isinstance(value, bool):
        return f"`{'null' if value is None else str(value).lower()}`"
    return f"`[{','.join(map(str, value))}]`" if isinstance(value, tuple) else f"`{value}`"


def rows(cls: type, texts: Mapping[str, Mapping[str, str]], path: str = "") -> Iterator[str]:
    """One table row a setting of a section; sections inside it are left to their own table."""
    hints = typing.get_type_hints(cls)
    composed = yaml.safe_load((ROOT / "conf" / "config.yaml").read_text("utf-8")).get(path.rstrip("."), {})
    for item in fields(cls):
        if is_dataclass(hints[item.name]):
            continue
        default = item.default if item.default_factory is MISSING else item.default_factory()
        assert default is not MISSING, f"{path}{item.name} has no default"
        text = texts[cls.__name__].get(item.name, "")
        cells = (
            f"`{path}{item.name}`",
            written(composed.get(item.name, default)),
            allowed(hints[item.name], item.metadata),
            text,
        )
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def settings_block() -> str:
    """Every setting, a table a section."""
    texts, lines = docstrings(), []
    hints = typing.get_type_hints(Config)
    sections = [(Config, "")] + [(hints[f.name], f"{f.name}.") for f in fields(Config) if is_dataclass(hints[f.name])]
    for cls, path in sections:
        lines += [f"### {path.rstrip('.') or 'top level'}", ""]
        lines += [texts[cls.__name__][""], ""] if path and texts[cls.__name__][""] else []
        lines += ["| setting | default | allowed | meaning |", "| --- | --- | --- | --- |", *rows(cls, texts, path), ""]
    return "\n".join(lines)


def groups_block() -> str:
    """Every option of every group: what its file says about it and what it sets, as one would type it."""
    lines = ["| option | what it is | same as |", "| --- | --- | --- |"]
    for path in sorted((ROOT / "conf").glob("*/*.yaml")):
        text, group = path.read_text("utf-8"), path.parent.name
        comments = [line[1:].strip() for line in text.splitlines() if line.startswith("#") and "@package" not in line]
        settings = yaml.safe_load(text)
        chosen = [entry for entry in settings.pop("defaults", []) if isinstance(entry, dict)]
        same = [f"{key.split('/')[-1]}={value}" for entry in chosen for key, value in entry.items()]
        same += _flat(settings, "" if "# @package _global_" in text else f"{group}.")
        lines.append(f"| `{group}={path.stem}` | {' '.join(comments)} | {' '.join(f'`{word}`' for word in same)} |")
    return "\n".join([*lines, ""])


def _flat(settings: Mapping[str, Any], prefix: str) -> list[str]:
    """`name=value` for every leaf."""
    words = []
    for key, value in settings.items():
        if isinstance(value, dict):
            words += _flat(value, f"{prefix}{key}.")
        else:
            words.append(f"{prefix}{key}={written(tuple(value) if isinstance(value, list) else value).strip('`')}")
    return words


def commands_block() -> str:
    """The commands and what they do."""
    lines = ["| command | what it does |", "| --- | --- |"]
    return "\n".join([*lines, *(f"| `{name}` | {command.summary} |" for name, command in COMMANDS.items()), ""])


BLOCKS = {"settings": settings_block, "groups": groups_block, "commands": commands_block}


def fill(page: str) -> str:
    """The page with every block made anew. Raises KeyError for an unknown block, ValueError for one without an end."""
    if page.count("<!-- reference:") != len(BLOCK.findall(page)):
        raise ValueError("a reference marker has no <!-- /reference --> line")
    return BLOCK.sub(lambda m: f"{m[1]}\n{BLOCKS[m[2]]()}\n{m[3]}", page)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--check", action="store_true", help="exit with 1 when the page differs; change nothing")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "configuration.md")
    arguments = parser.parse_args()
    old = arguments.page.read_text("utf-8")
    new = fill(old)
    if old == new:
        return 0
    if arguments.check:
        print(f"{arguments.page} is out of date; run: python scripts/config_reference.py", file=sys.stderr)
        return 1
    arguments.page.write_text(new, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
