"""The commands: each runs the stages it needs that are not there yet, then writes its own run folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from robo_reward.config import Config
from robo_reward.runtime import collecting, steps
from robo_reward.runtime.run_folder import RunFolder
from robo_reward.runtime.stages import StageResult
from robo_reward.runtime.tables import print_labels, print_pairs
from robo_reward.terminal import progress, say


def collect(config: Config) -> dict[str, Any]:
    """Record demonstrations and weak, validation and test rollouts as LeRobotDatasets."""
    with RunFolder(config.run.dir, config, "collect", config.quiet) as run:
        stage = collecting.collect_stage(config)
        return _finish(run, [stage], {"dataset": str(stage.path)})


def label(config: Config) -> dict[str, Any]:
    """Keyframes and potentials of every episode."""
    with RunFolder(config.run.dir, config, "label", config.quiet) as run:
        data = collecting.dataset_stage(config)
        stage = steps.label_stage(config, data)
        print_labels(stage.summary, config.quiet)
        return _finish(run, [data, stage], {"labels": str(stage.path / "labels.json")})


def train_reward(config: Config) -> dict[str, Any]:
    """Train the process reward model, or learn from one demonstration with demo=."""
    with RunFolder(config.run.dir, config, "train-reward", config.quiet) as run:
        if config.demo is not None:
            from robo_reward.runtime.demonstration import demo_stage

            stage = demo_stage(config)
            say("completion is not calibrated: one demonstration holds no failures", config.quiet)
            return _finish(run, [stage], {"reward_model": str(stage.path)})
        data = collecting.dataset_stage(config)
        stage = steps.reward_stage(config, data)
        print_pairs(stage.summary, config.quiet)
        return _finish(run, [data, stage], {"reward_model": str(stage.path)})


def bench_reward(config: Config) -> dict[str, Any]:
    """Measure the reward model against controls and the oracle, score the videos of `video.CAMERA=`, or check its
    completion rule on the rollouts of `store=`."""
    if config.video:
        return _score_videos(config)
    if config.store is not None:
        return _recheck_store(config)
    if config.suite.tasks:
        return _bench_suite(config)
    from robo_reward.evaluation import report
    from robo_reward.runtime import reward_results
    from robo_reward.runtime.clips import clips_stage

    with RunFolder(config.run.dir, config, "bench-reward", config.quiet) as run:
        data = collecting.dataset_stage(config)
        reward = steps.reward_stage(config, data)
        rivals = [steps.reward_stage(steps.with_reward(config, kind), data) for kind in config.reward.rivals]
        bench = steps.bench_stage(config, data, reward, rivals)
        clips = clips_stage(config, data, reward, bench)
        reward_results.print_reward_table(bench, config.quiet)
        sections = [*reward_results.reward_sections(bench), reward_results.clips_section(clips, run.path)]
        report.write_report(run.path / "report.html", sections, title="Reward model")
        return _finish(run, [data, *rivals, reward, bench, clips], {"table": str(bench.path / "bench.csv")})


def _bench_suite(config: Config) -> dict[str, Any]:
    from robo_reward.evaluation import report
    from robo_reward.runtime import reward_results
    from robo_reward.runtime.clips import clips_stage
    from robo_reward.runtime.suite import run_suite, suite_summary

    with RunFolder(config.run.dir, config, "bench-reward", config.quiet) as run:
        measured = run_suite(config)
        sections = []
        for task in measured:
            say(f"\n{task.name}", config.quiet)
            reward_results.print_reward_table(task.bench, config.quiet)
            clips = clips_stage(task.config, task.data, task.reward, task.bench)
            parts = [*reward_results.reward_sections(task.bench), reward_results.clips_section(clips, run.path)]
            sections += [replace(part, title=f"{task.name}: {part.title}") for part in parts]
        report.write_report(run.path / "report.html", sections, title="Reward model, task by task")
        stages = {stage.path: stage for task in measured for stage in (task.data, task.reward, task.bench)}
        wall_s = round(sum(stage.wall_s for stage in stages.values()), 1)
        return run.finish({**suite_summary(measured), "wall_s": wall_s})


def _score_videos(config: Config) -> dict[str, Any]:
    from robo_reward.evaluation.score_videos import score_videos
    from robo_reward.progress.training import load_reward

    with RunFolder(config.run.dir, config, "bench-reward", config.quiet) as run:
        used, reward = _reward_model(config)
        summary = score_videos(config.video, load_reward(Path(reward)), config.instruction, run.path)
        say(f"progress {summary['final_progress']:.2f}, {summary['verdict']}: {summary['film']}", config.quiet)
        return _finish(run, used, summary)


def _recheck_store(config: Config) -> dict[str, Any]:
    from robo_reward.evaluation import report
    from robo_reward.runtime import reward_results
    from robo_reward.runtime.overrule import read_outcomes, recalibrate
    from robo_reward.runtime.recheck import recheck_completion, write_rows

    with RunFolder(config.run.dir, config, "bench-reward", config.quiet) as run:
        used, reward = _reward_model(config)
        outcomes = read_outcomes(config.outcomes) if config.outcomes else {}
        summary, rows = recheck_completion(config.store or "", reward, config.quiet, outcomes)
        table = write_rows(rows, run.path)
        if config.preferences is not None:
            from robo_reward.runtime.preferred import preference_agreement

            summary |= preference_agreement(config.store or "", reward, config.preferences)
            say(reward_results.preference_words(summary), config.quiet)
        if config.to is not None:
            summary |= recalibrate(reward, rows, steps.completion_target(config), config.to)
        report.write_report(run.path / "report.html", [reward_results.onpolicy_section(summary)], title="Completion")
        say(reward_results.onpolicy_words(summary), config.quiet)
        return _finish(run, used, {**summary, "table": str(table)})


def annotate(config: Config) -> dict[str, Any]:
    """The reward model's potential of every episode of the dataset, or of a transition store."""
    if config.store is not None:
        return _annotate_store(config)
    if config.to is not None:
        return _annotate_dataset(config)
    with RunFolder(config.run.dir, config, "annotate", config.quiet) as run:
        data = collecting.dataset_stage(config)
        reward = steps.reward_stage(config, data)
        stage = steps.annotate_stage(config, data, reward)
        return _finish(run, [data, reward, stage], {"annotations": str(stage.path / "annotations.npz")})


def _annotate_store(config: Config) -> dict[str, Any]:
    from robo_reward.runtime.reannotate import reannotate

    with RunFolder(config.run.dir, config, "annotate", config.quiet) as run:
        used, reward = _reward_model(config)
        summary = reannotate(config.store or "", reward, config.quiet)
        say(f"proposed {summary['reward_model_id']} to the run of {config.store}", config.quiet)
        return _finish(run, used, summary)


def _annotate_dataset(config: Config) -> dict[str, Any]:
    from robo_reward.data.convert import is_foreign_file
    from robo_reward.runtime.annotate_dataset import annotate_dataset

    if config.dataset is None or is_foreign_file(config.dataset):
        raise ValueError(
            f"annotate with to= copies a LeRobotDataset: set dataset= to its folder, not {config.dataset or 'null'}"
        )
    with RunFolder(config.run.dir, config, "annotate", config.quiet) as run:
        used, reward = _reward_model(config)
        summary = annotate_dataset(
            config.dataset, config.to or "", reward, chunk=config.annotate.chunk, instruction=config.instruction,
            quiet=config.quiet,
        )  # fmt: skip
        return _finish(run, used, summary)


def _reward_model(config: Config) -> tuple[list[StageResult], str]:
    """The folder of `reward_model=`, or of the model that the settings train, with the stages it took."""
    if config.reward_model is not None:
        return [], config.reward_model
    used = [data := collecting.dataset_stage(config), steps.reward_stage(config, data)]
    return used, str(used[1].path)


def train_base(config: Config) -> dict[str, Any]:
    """Train the base policy."""
    steps.check_base(config)
    with RunFolder(config.run.dir, config, "train-base", config.quiet) as run:
        data = collecting.dataset_stage(config)
        stage = steps.base_stage(config, steps.observed_stage(config, data))
        return _finish(run, [data, stage], {"base_policy": str(stage.path)})


def train(config: Config) -> dict[str, Any]:
    """The whole line: data, reward model and its benchmark, base, residual, evaluation, report."""
    return _train_and_evaluate(config, "train")


def evaluate(config: Config) -> dict[str, Any]:
    """Base against trained policy on paired initial states; trains first what is not there yet."""
    return _train_and_evaluate(config, "evaluate")


def _train_and_evaluate(config: Config, command: str) -> dict[str, Any]:
    from robo_reward.runtime import results
    from robo_reward.runtime.clips import clips_stage
    from robo_reward.runtime.local import needs_frames
    from robo_reward.runtime.robustness import check_axes, robustness_stage

    check_axes(config)
    steps.check_base(config)
    with RunFolder(config.run.dir, config, command, config.quiet) as run:
        data = collecting.dataset_stage(config)
        reward = steps.reward_stage(config, data) if needs_frames(config) else None
        bench = steps.bench_stage(config, data, reward) if reward and steps.can_bench(data) else None
        clips = clips_stage(config, data, reward, bench) if reward and bench else None
        seen = steps.observed_stage(config, data)
        base = steps.base_stage(config, seen)
        trained = steps.residual_stage(config, seen, reward, base, run.log)
        recheck = steps.recheck_stage(config, reward, trained) if reward and config.reward.kind == "compact" else None
        evaluation = steps.evaluate_stage(config, seen, reward, base, trained)
        perturbed = robustness_stage(config, seen, reward, base, trained)
        line = results.Line(data, reward, bench, base, trained, recheck, evaluation, perturbed, clips)
        summary = results.training_summary(config, line) | dict(perturbed.summary if perturbed else {})
        path = results.write_training_report(config, run, line, summary)
        results.print_table(summary, config.quiet)
        say(f"report: {path}", config.quiet)
        return _finish(run, line.stages, summary)


def export(config: Config) -> dict[str, Any]:
    """A transition store's episodes as a LeRobotDataset v3."""
    from robo_reward.data.export import export_episodes
    from robo_reward.data.store import TransitionStore, find_store
    from robo_reward.runtime.tasks import task_of

    if config.store is None or config.to is None:
        raise ValueError("export needs store=FOLDER (of a training stage) and to=FOLDER (of the new dataset)")
    with RunFolder(config.run.dir, config, "export", config.quiet) as run:
        store, task = TransitionStore(find_store(config.store)), task_of(config.env)
        entries = progress(store.episodes(), len(store.episodes()), "export", config.quiet)
        count = export_episodes(
            (store.read(entry.episode_id) for entry in entries), config.to, fps=task.fps, robot_type=task.robot,
            task_stages=task.stages, resume=True,
        )  # fmt: skip
        say(f"{count} episodes in {config.to}", config.quiet)
        return _finish(run, [], {"exported_episodes": count, "dataset": config.to})


def _finish(run: RunFolder, stages: Sequence[StageResult], summary: dict[str, Any]) -> dict[str, Any]:
    """summary.json; its wall time counts every stage it stands on, reused ones too."""
    plain = {
        key: value
        for stage in stages
        for key, value in stage.summary.items()
        if isinstance(value, (int, float, str, type(None)))
    }
    timed = {"wall_s": round(sum(stage.wall_s for stage in stages), 1)} if stages else {}
    return run.finish({**plain, **summary, **timed})
