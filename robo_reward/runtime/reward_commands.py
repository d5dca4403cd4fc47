"""The commands about the reward model: train it, measure it, annotate with it, serve it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from robo_reward.config import Config
from robo_reward.data.store import find_store
from robo_reward.runtime import collecting, steps
from robo_reward.runtime.run_folder import RunFolder
from robo_reward.runtime.stages import StageResult, finish_run
from robo_reward.runtime.tables import print_pairs
from robo_reward.terminal import say


def train_reward(config: Config) -> dict[str, Any]:
    """Train the process reward model, or learn from one demonstration with demo=."""
    if config.reward.kind == "grm":
        return _tune_grm(config)
    steps.check_labels(config)
    with RunFolder(config.run.dir, config, "train-reward", config.quiet) as run:
        if config.demo is not None:
            from robo_reward.runtime.demonstration import demo_stage

            stage = demo_stage(config)
            say("completion is not calibrated: one demonstration holds no failures", config.quiet)
            return finish_run(run, [stage], {"reward_model": str(stage.path)})
        data = collecting.dataset_stage(config)
        stage = steps.reward_stage(config, data)
        print_pairs(stage.summary, config.quiet)
        return finish_run(run, [data, stage], {"reward_model": str(stage.path)})


def _tune_grm(config: Config) -> dict[str, Any]:
    from robo_reward.progress.ranks import rank
    from robo_reward.runtime.grm_tuning import MODEL, check_ranks, is_grm_data, tune_stage

    check_ranks(config)
    if not config.tune.from_scratch:
        steps.check_reward(config)
    given = config.demo is not None or is_grm_data(config.dataset)
    if rank():  # takes part in what the first process does and writes nothing of its own
        config = replace(config, quiet=True)
        tune_stage(config, None if given else collecting.dataset_stage(config))
        return {}
    with RunFolder(config.run.dir, config, "train-reward", config.quiet) as run:
        data = None if given else collecting.dataset_stage(config)
        stage = tune_stage(config, data)
        assert stage is not None
        for step, loss in enumerate(stage.summary["losses"], 1):
            run.log(step, loss=loss)
        folder = str(stage.path / MODEL)
        say(f"fine-tuned: reward=grm reward.model={folder}", config.quiet)
        return finish_run(run, [data, stage] if data else [stage], {"model": folder})


def bench_reward(config: Config) -> dict[str, Any]:
    """Measure the reward model against controls and the oracle, score the videos of `video.CAMERA=`, or check its
    completion rule on the rollouts of `store=`."""
    steps.check_reward(config)
    if config.video:
        return _score_videos(config)
    if config.store is not None:
        return _recheck_store(config)
    if config.suite.tasks:
        return _bench_suite(config)
    if config.dataset is not None or not config.collect.test:
        raise ValueError(steps.NO_TEST)
    steps.check_labels(config)
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
        left = {"table": str(bench.path / "bench.csv"), "reward_model": str(reward.path)}
        return finish_run(run, [data, *rivals, reward, bench, clips], left)


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
    from robo_reward.progress.reward_model import load_reward

    with RunFolder(config.run.dir, config, "bench-reward", config.quiet) as run:
        used, reward = _reward_model(config)
        summary = score_videos(config.video, load_reward(Path(reward)), config.instruction, run.path)
        say(f"progress {summary['final_progress']:.2f}, {summary['verdict']}: {summary['film']}", config.quiet)
        return finish_run(run, used, summary)


def _recheck_store(config: Config) -> dict[str, Any]:
    from robo_reward.evaluation import report
    from robo_reward.runtime import reward_results
    from robo_reward.runtime.overrule import read_outcomes, recalibrate
    from robo_reward.runtime.recheck import recheck_completion, write_rows

    find_store(config.store or "")  # before a reward model is trained for it
    outcomes = read_outcomes(config.outcomes) if config.outcomes else {}
    with RunFolder(config.run.dir, config, "bench-reward", config.quiet) as run:
        used, reward = _reward_model(config)
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
        return finish_run(run, used, {**summary, "table": str(table)})


def annotate(config: Config) -> dict[str, Any]:
    """The reward model's potential of every episode of the dataset, or of a transition store."""
    steps.check_reward(config)
    if config.store is not None:
        return _annotate_store(config)
    if config.to is not None:
        return _annotate_dataset(config)
    with RunFolder(config.run.dir, config, "annotate", config.quiet) as run:
        data = collecting.dataset_stage(config)
        reward = steps.reward_stage(config, data)
        stage = steps.annotate_stage(config, data, reward)
        left = {"annotations": str(stage.path / "annotations.npz"), "reward_model": str(reward.path)}
        return finish_run(run, [data, reward, stage], left)


def _annotate_store(config: Config) -> dict[str, Any]:
    from robo_reward.runtime.reannotate import reannotate

    find_store(config.store or "")  # before a reward model is trained for it
    with RunFolder(config.run.dir, config, "annotate", config.quiet) as run:
        used, reward = _reward_model(config)
        summary = reannotate(config.store or "", reward, config.quiet)
        say(f"proposed {summary['reward_model_id']} to the run of {config.store}", config.quiet)
        return finish_run(run, used, summary)


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
        return finish_run(run, used, summary)


def _reward_model(config: Config) -> tuple[list[StageResult], str]:
    """The folder of `reward_model=`, or of the model that the settings train, with the stages it took."""
    if config.reward_model is not None:
        return [], config.reward_model
    used = [data := collecting.dataset_stage(config), steps.reward_stage(config, data)]
    return used, str(used[1].path)


def serve_reward(config: Config) -> dict[str, Any]:
    """Serve the reward model to other processes until Ctrl-C or SIGTERM."""
    from robo_reward.progress.reward_model import load_reward
    from robo_reward.service.server import serve

    with RunFolder(config.run.dir, config, "serve-reward", config.quiet) as run:
        used, reward = _reward_model(config)
        return finish_run(run, used, serve(load_reward(Path(reward)), config.serve, config.quiet))
