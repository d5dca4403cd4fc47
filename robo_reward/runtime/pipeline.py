"""The commands: each runs the stages it needs that are not there yet, then writes its own run folder."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from robo_reward.config import HOP_MODELS, Config
from robo_reward.runtime import collecting, steps
from robo_reward.runtime.demonstrations import check_dataset
from robo_reward.runtime.exporting import export as export
from robo_reward.runtime.reward_commands import annotate as annotate
from robo_reward.runtime.reward_commands import bench_reward as bench_reward
from robo_reward.runtime.reward_commands import serve_reward as serve_reward
from robo_reward.runtime.reward_commands import train_reward as train_reward
from robo_reward.runtime.run_folder import RunFolder
from robo_reward.runtime.stages import StageResult, finish_run
from robo_reward.runtime.tables import print_labels
from robo_reward.terminal import say


def collect(config: Config) -> dict[str, Any]:
    """Record demonstrations and weak, validation and test rollouts as LeRobotDatasets."""
    with RunFolder(config.run.dir, config, "collect", config.quiet) as run:
        stage = collecting.collect_stage(config)
        return finish_run(run, [stage], {"dataset": str(stage.path)})


def label(config: Config) -> dict[str, Any]:
    """Keyframes and potentials of every episode."""
    steps.check_labels(config)
    with RunFolder(config.run.dir, config, "label", config.quiet) as run:
        data = collecting.dataset_stage(config)
        stage = steps.label_stage(config, data)
        print_labels(stage.summary, config.quiet)
        return finish_run(run, [data, stage], {"labels": str(stage.path / "labels.json")})


def train_base(config: Config) -> dict[str, Any]:
    """Train the base policy."""
    steps.check_base(config)
    with RunFolder(config.run.dir, config, "train-base", config.quiet) as run:
        data = collecting.dataset_stage(config)
        stage = steps.base_stage(config, steps.observed_stage(config, data))
        return finish_run(run, [data, stage], {"base_policy": str(stage.path)})


def train(config: Config) -> dict[str, Any]:
    """The whole line: data, reward model and its benchmark, base, residual, evaluation, report."""
    if config.evaluate.policies:
        raise ValueError("evaluate.policies are runs that are over: train evaluates its own, use evaluate")
    return _train_and_evaluate(config, "train")


def learner(config: Config) -> dict[str, Any]:
    """`train` with actors that come from elsewhere; where they are robots, the evaluation is theirs too."""
    from robo_reward.runtime.link import check_address, own_token
    from robo_reward.runtime.tls import read_keys

    check_address(config.runtime.listen, own_token(), read_keys(config.runtime))
    return _train_and_evaluate(config, "learner")


def evaluate(config: Config) -> dict[str, Any]:
    """Base against trained policy on paired initial states, trained first where not there yet; or those of
    evaluate.policies=."""
    if config.evaluate.plan or config.evaluate.compare:
        from robo_reward.runtime.sim_and_real import compare_sim_real, plan_evaluation

        return plan_evaluation(config) if config.evaluate.plan else compare_sim_real(config)
    if not config.evaluate.policies:
        return _train_and_evaluate(config, "evaluate")
    if len(config.evaluate.policies) > 1 and config.robot:
        from robo_reward.runtime.ab_evaluating import run_session

        return run_session(config)
    if len(config.evaluate.policies) > 1:
        from robo_reward.runtime.comparing import compare_policies

        return compare_policies(config)
    return _evaluate_finished(config)


def _evaluate_finished(config: Config) -> dict[str, Any]:
    from robo_reward.runtime.finished import check_space, finished_run, space_sizes
    from robo_reward.runtime.observing import sight
    from robo_reward.runtime.tasks import make_env

    run = finished_run(config.evaluate.policies[0], config)
    _check_evaluation(run.config)
    if not config.robot:
        see = sight(run.config, run.data, steps.load_base(run.config, run.base))
        with closing(see(make_env(run.config.env))) as world:
            check_space(run, *space_sizes(world))
    with RunFolder(config.run.dir, config, "evaluate", config.quiet) as folder:
        return _evaluate_line(run.config, folder, run.data, run.reward, run.base, run.trained)


def _train_and_evaluate(config: Config, command: str) -> dict[str, Any]:
    from robo_reward.learning.device import device_named
    from robo_reward.runtime.clips import clips_stage
    from robo_reward.runtime.distil import find_teacher
    from robo_reward.runtime.local import needs_frames

    _check_evaluation(config)
    steps.check_base(config)
    steps.check_labels(config)
    steps.check_reward(config)
    find_teacher(config)
    device_named(config.agent.device)
    if config.hil.kind == "device":
        from robo_reward.console.device import check_device

        check_device(config)
    with RunFolder(config.run.dir, config, command, config.quiet) as run:
        data = collecting.dataset_stage(config)
        check_dataset(config, data.path)  # the base's stage would, but only after the reward model's hours
        reward = steps.reward_stage(config, data) if needs_frames(config) else None
        bench = steps.bench_stage(config, data, reward) if reward and steps.can_bench(data) else None
        clips = clips_stage(config, data, reward, bench) if reward and bench else None
        seen = steps.observed_stage(config, data)
        base = steps.base_stage(config, seen)
        trained = steps.residual_stage(config, seen, reward, base, run.log)
        if command == "learner" and config.robot:
            say(f"trained; where the robot is: robo-reward evaluate robot=... policies={run.path}", config.quiet)
            used = [stage for stage in (data, reward, base, trained) if stage is not None]
            left = {"reward_model": str(reward.path)} if reward else {}
            return finish_run(run, used, {"train_folder": str(trained.path), **left})
        recheck = steps.recheck_stage(config, reward, trained) if reward and config.reward.kind in HOP_MODELS else None
        return _evaluate_line(
            config, run, seen, reward, base, trained, data=data, bench=bench, recheck=recheck, clips=clips
        )


def _check_evaluation(config: Config) -> None:
    """What the evaluation would refuse after hours of training."""
    from robo_reward.runtime.evaluating import stopping_test
    from robo_reward.runtime.robustness import check_axes

    check_axes(config)
    stopping_test(config)


def _evaluate_line(
    config: Config, run: RunFolder, seen: StageResult, reward: StageResult | None, base: StageResult,
    trained: StageResult, **others: StageResult | None,
) -> dict[str, Any]:  # fmt: skip
    from robo_reward.runtime import results
    from robo_reward.runtime.evaluating import evaluate_stage
    from robo_reward.runtime.robustness import robustness_stage

    stages: dict[str, Any] = {"data": seen, "reward": reward, "base": base, "trained": trained, **others}
    stages["evaluation"] = evaluate_stage(config, seen, reward, base, trained)
    stages["perturbed"] = perturbed = robustness_stage(config, seen, reward, base, trained)
    line = results.Line(**stages)
    summary = results.training_summary(config, line) | dict(perturbed.summary if perturbed else {})
    path = results.write_training_report(config, run, line, summary)
    results.print_table(summary, config.quiet)
    say(f"report: {path}", config.quiet)
    return finish_run(run, line.stages, summary)
