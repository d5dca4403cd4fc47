"""`evaluate plan=`, how many paired rollouts a question needs, and `evaluate compare=`, simulation against reality."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from robo_reward.config import Config
from robo_reward.evaluation import report
from robo_reward.evaluation.sequential import plan, power
from robo_reward.evaluation.sim_to_real import Agreement, Rate, agreement
from robo_reward.runtime.comparing import TABLE
from robo_reward.runtime.run_folder import RunFolder
from robo_reward.terminal import say


def plan_evaluation(config: Config) -> dict[str, Any]:
    """The smallest sequential test that answers the question; prints how to run it.

    Raises:
        ValueError: success rates out of range or order, or a question that takes too many pairs.
    """
    if len(config.evaluate.plan) != 2:
        raise ValueError(
            "plan= takes two success rates, such as plan=0.8,0.95: the one there is, and the one hoped for"
        )
    first, second = config.evaluate.plan
    looks = config.evaluate.looks if config.evaluate.looks > 1 else 4
    test = plan(first, second, looks, config.evaluate.error, config.evaluate.power)
    reached, expected = power(test, first, second)
    pairs, looks = test.looks[-1], len(test.looks)
    say(
        f"{pairs} paired rollouts at most, {expected:.0f} on average, tell {first:.0%} from {second:.0%} with "
        f"{reached:.0%} power (one-sided error {test.error:.0%}, outcomes independent; fewer where both policies fail "
        f"on the same states)\nevaluate.episodes={pairs} evaluate.looks={looks} evaluate.error={test.error:g}",
        config.quiet,
    )
    with RunFolder(config.run.dir, config, "evaluate", config.quiet) as run:
        return run.finish({"pairs": pairs, "looks": looks, "power": reached, "expected_pairs": expected})


def compare_sim_real(config: Config) -> dict[str, Any]:
    """Correlation, rank violation and gaps of two evaluations of the same policies.

    Raises:
        ValueError: not two sides, a folder without an evaluation of several policies, or too little in common.
    """
    if len(config.evaluate.compare) != 2:
        raise ValueError("compare= takes two sides, such as compare=runs/evaluate-sim,runs/evaluate-real")
    sim, real = (read_rates(side) for side in config.evaluate.compare)
    found = agreement(sim, real)
    with RunFolder(config.run.dir, config, "evaluate", config.quiet) as run:
        shown = "undefined" if found.pearson is None else f"{found.pearson:.3f}"
        say(
            f"Pearson {shown}, mean maximum rank violation {found.mmrv:.3f}, over {len(found.pairs)} rates",
            config.quiet,
        )
        for gap in found.gaps:
            low, high = gap.interval
            say(f"{gap.condition:<24}{gap.difference:+.0%}  ({low:+.0%} to {high:+.0%})", config.quiet)
        report.write_report(run.path / "report.html", _sections(found, sim, real), title="Simulation and reality")
        gaps: dict[str, float] = {}
        for gap in found.gaps:
            name = f"gap_{gap.condition.replace(':', '_')}"
            gaps |= {name: gap.difference, f"{name}_low": gap.interval.low, f"{name}_high": gap.interval.high}
        return run.finish({"pearson": found.pearson, "mmrv": found.mmrv, "compared": len(found.pairs), **gaps})


def read_rates(side: str) -> dict[tuple[str, str], Rate]:
    """policies.csv of an evaluation's run folder, or of several, joined by `+`."""
    rates = {}
    for folder in side.split("+"):
        try:
            with (Path(folder) / TABLE).open(newline="", encoding="utf-8") as file:
                for row in csv.DictReader(file):
                    rates[row["policy"], row["condition"]] = Rate(int(row["successes"]), int(row["episodes"]))
        except (OSError, KeyError, ValueError):
            raise ValueError(
                f"{folder} holds no {TABLE}: give the run folder of an evaluation of several policies"
            ) from None
    return rates


def _sections(found: Agreement, sim: dict[Any, Rate], real: dict[Any, Rate]) -> list[report.Section]:
    return [
        report.headline([
            ("–" if found.pearson is None else f"{found.pearson:.2f}", "Pearson correlation", "1 is perfect"),
            (f"{found.mmrv:.2f}", "mean maximum rank violation", "0 is perfect"),
        ]),
        report.table("Success", ["policy", "condition", "simulation", "reality"],
                     [[*key, sim[key].rate, real[key].rate] for key in found.pairs]),
        report.table("Gaps", ["condition", "policies", "simulation minus reality", "low", "high"],
                     [[g.condition, g.policies, g.difference, *g.interval] for g in found.gaps],
                     note="Rates pooled over the policies; 95% intervals."),
    ]  # fmt: skip
