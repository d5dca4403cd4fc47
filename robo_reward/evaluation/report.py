"""One self-contained report.html: no network, no scripts; plots inlined, videos by relative link.

A report is a list of sections; every builder below escapes the strings it is given.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from urllib.parse import quote

from robo_reward.evaluation.report_style import CSS
from robo_reward.evaluation.statistics import wilson_interval


@dataclass(frozen=True)
class Section:
    """A heading and the HTML under it, already escaped by the builder that made it."""

    title: str
    html: str
    note: str = ""


@dataclass(frozen=True)
class SuccessRow:
    """A policy's successes in its evaluation episodes; `emphasis` marks the result the report is about."""

    name: str
    successes: int
    episodes: int
    emphasis: bool = False
    note: str = ""


@dataclass(frozen=True)
class VideoItem:
    """A video file and the words under it."""

    path: Path
    caption: str
    success: bool | None = None
    page: Path | None = None
    """A page with more about it, linked from the caption."""


def write_report(
    path: Path | str, sections: Sequence[Section], *, title: str = "robo_reward", subtitle: str = ""
) -> Path:
    """Write the page.

    Args:
        path: report.html; its folder is created. Video sections must be built for the same folder.
        sections: in the order they appear; the ones with a title get a link at the top.
        title, subtitle: the page's heading, plain text.

    Returns:
        The path written.
    """
    named = [(f"s{i}", section) for i, section in enumerate(sections)]
    links = "".join(f'<a href="#{key}">{escape(s.title)}</a>' for key, s in named if s.title)
    body = "".join(_section(key, section) for key, section in named)
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{CSS}</style></head><body>"
        f"<header><h1>{escape(title)}</h1><p>{escape(subtitle)}</p><nav>{links}</nav></header>"
        f"<main>{body}</main></body></html>\n"
    )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    return path


def headline(facts: Sequence[tuple[str, str, str]]) -> Section:
    """Large figures at the top: (figure, what it is, small print)."""
    tiles = "".join(
        f'<div class="tile"><b>{escape(figure)}</b><span>{escape(label)}</span><small>{escape(small)}</small></div>'
        for figure, label, small in facts
    )
    return Section("", f'<div class="tiles">{tiles}</div>')


def summary_headline(summary: Mapping[str, float | None]) -> Section:
    """The headline of a training run from the flat keys of its summary.json; absent keys leave their figure out."""
    facts = []
    if {"base_success", "final_success"} <= summary.keys():
        low, high = (summary.get(f"final_success_{side}") for side in ("low", "high"))
        small = "" if low is None or high is None else f"95% interval of the trained policy {low:.0%} to {high:.0%}"
        change = f"{summary['base_success']:.0%} \u2192 {summary['final_success']:.0%}"
        facts.append((change, "success, base to trained", small))
    if summary.get("rollouts") is not None:
        steps = summary.get("env_steps")
        facts.append(
            (f"{summary['rollouts']:,.0f}", "online rollouts", f"{steps:,.0f} environment steps" if steps else "")
        )
    if "rollouts_to_0_8_success" in summary:
        needed = summary["rollouts_to_0_8_success"]
        facts.append(("never" if needed is None else f"{needed:,.0f}", "rollouts to 80% success", ""))
    wall_s = summary.get("wall_s")
    if wall_s is not None:
        minutes, seconds = divmod(round(wall_s), 60)
        rate = summary.get("updates_per_s")
        facts.append(
            (f"{minutes} min {seconds:02d} s", "wall time", f"{rate:,.0f} critic updates a second" if rate else "")
        )
    return headline(facts)


def figure(title: str, svg: str, alt: str, note: str = "") -> Section:
    """A plot of `robo_reward.evaluation.plots`; `alt` says in words what it shows."""
    data = base64.b64encode(svg.encode()).decode()
    return Section(title, f'<img class="plot" alt="{escape(alt)}" src="data:image/svg+xml;base64,{data}">', note)


def table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    emphasis: int | None = None,
    note: str = "",
) -> Section:
    """A table; floats are rounded to three decimals, None is a dash, row number `emphasis` stands out.

    Raises:
        ValueError: a row whose number of cells is not that of the columns.
    """
    for i, row in enumerate(rows):
        if len(row) != len(columns):
            raise ValueError(f"table {title}: row {i} has {len(row)} cells; expected {len(columns)}, one per column")
    styles = ["num" if all(_is_number(row[c]) for row in rows) else "" for c in range(len(columns))]
    head = "".join(f'<th scope="col" class="{s}">{escape(c)}</th>' for c, s in zip(columns, styles, strict=True))
    body = ""
    for i, row in enumerate(rows):
        cells = "".join(f'<td class="{s}">{_cell(c)}</td>' for c, s in zip(row[1:], styles[1:], strict=True))
        body += f'<tr{_strong(i == emphasis)}><th scope="row">{_cell(row[0])}</th>{cells}</tr>'
    html = f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    return Section(title, html, note)


def success_table(
    title: str, rows: Sequence[SuccessRow], *, difference: tuple[float, float, float] | None = None, note: str = ""
) -> Section:
    """Success of each policy with its 95% Wilson interval, as figures and as a bar.

    Args:
        title: heading.
        rows: one per policy, the base first.
        difference: (trained - base, low, high) in [-1, 1] from the paired interval; a sentence under the table.
        note: small print.
    """
    body = ""
    for row in rows:
        low, high = wilson_interval(row.successes, row.episodes)
        rate = row.successes / row.episodes
        small = f"<small>{escape(row.note)}</small>" if row.note else ""
        body += (
            f'<tr{_strong(row.emphasis)}><th scope="row">{escape(row.name)}{small}</th>'
            f'<td class="num">{row.successes} / {row.episodes}</td><td class="num">{rate:.0%}</td>'
            f'<td class="num">{low:.0%} to {high:.0%}</td>'
            f'<td class="bar">{_bar(rate, low, high, row.emphasis)}</td></tr>'
        )
    head = "".join(
        f'<th scope="col" class="{style}">{name}</th>'
        for name, style in (("policy", ""), ("episodes", "num"), ("success", "num"), ("95% interval", "num"), ("", ""))
    )
    html = f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    if difference is not None:
        gain, low, high = (100 * value for value in difference)
        verdict = (
            "the interval lies above zero"
            if low > 0
            else "the interval lies below zero"
            if high < 0
            else "the interval includes zero: no difference shown"
        )
        html += (
            f'<p class="verdict">Trained minus base on the same initial states: <b>{gain:+.0f} points</b> '
            f"(95% interval {low:+.0f} to {high:+.0f}); {verdict}.</p>"
        )
    return Section(title, html, note)


def videos(title: str, items: Sequence[VideoItem], folder: Path | str, note: str = "") -> Section:
    """Videos in a grid, linked relative to `folder`, the report's own folder, so that both can be moved together.

    Raises:
        FileNotFoundError: a video that does not exist.
    """
    cells = ""
    for item in items:
        if not Path(item.path).is_file():
            raise FileNotFoundError(f"no video at {item.path}; write it before the report")
        link = _link(item.path, folder)
        word = "" if item.success is None else "success" if item.success else "failure"
        more = "" if item.page is None else f' \u00b7 <a href="{_link(item.page, folder)}">reward terms</a>'
        badge = f'<span class="badge {word}">{word}</span>' if word else ""
        cells += (
            f'<figure><video controls muted loop playsinline preload="metadata" src="{link}#t=0.001"></video>'
            f"<figcaption>{badge}{escape(item.caption)}{more}</figcaption></figure>"
        )
    return Section(title, f'<div class="videos">{cells}</div>', note)


def settings(title: str, command: str, facts: Mapping[str, object], config_text: str = "") -> Section:
    """The command line, what it ran on, and the resolved configuration folded away."""
    rows = "".join(f"<dt>{escape(str(key))}</dt><dd>{_cell(value)}</dd>" for key, value in facts.items())
    html = f"<pre><code>{escape(command)}</code></pre><dl>{rows}</dl>"
    if config_text:
        html += f"<details><summary>resolved configuration</summary><pre>{escape(config_text)}</pre></details>"
    return Section(title, html)


def _link(path: Path, folder: Path | str) -> str:
    return quote(Path(os.path.relpath(path, folder)).as_posix())


def _section(key: str, section: Section) -> str:
    heading = f"<h2>{escape(section.title)}</h2>" if section.title else ""
    note = f'<p class="note">{escape(section.note)}</p>' if section.note else ""
    return f'<section id="{key}">{heading}{section.html}{note}</section>'


def _strong(emphasis: bool) -> str:
    return ' class="strong"' if emphasis else ""


def _is_number(cell: object) -> bool:
    return cell is None or (isinstance(cell, (int, float)) and not isinstance(cell, bool))


def _cell(cell: object) -> str:
    if cell is None:
        return "–"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    return f"{cell:.3f}" if isinstance(cell, float) else escape(str(cell))


def _bar(rate: float, low: float, high: float, emphasis: bool) -> str:
    """A filled bar for the rate and a whisker for the interval, 200 px for 100 %."""
    fill = "#0072B2" if emphasis else "#9FB4C7"
    left, right = 200 * low, 200 * high
    return (
        '<svg width="204" height="18" viewBox="-2 0 204 18" aria-hidden="true">'
        '<rect width="200" height="10" y="4" rx="2" fill="#EEF1F4"/>'
        f'<rect width="{200 * rate:.1f}" height="10" y="4" rx="2" fill="{fill}"/>'
        f'<path d="M{left:.1f} 9H{right:.1f}M{left:.1f} 5V13M{right:.1f} 5V13" stroke="#20262E" stroke-width="1.4"/>'
        "</svg>"
    )
