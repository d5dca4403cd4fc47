"""The commands: each runs the stages it needs that are not there yet, then writes its own run folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from robo_reward.config import HOP_MODELS, Config
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
    if config.reward.kind == "grm":
        return _tune_grm(config)
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


def _tune_grm(config: Config) -> dict[str, Any]:
    from robo_reward.runtime.grm_tuning import MODEL, is_grm_data, tune_stage

    with RunFolder(config.run.dir, config, "train-reward", config.quiet) as run:
        given = config.demo is not None or is_grm_data(config.dataset)
        data = None if given else collecting.dataset_stage(config)
        stage = tune_stage(config, data)
        for step, loss in enumerate(stage.summary["losses"], 1):
            run.log(step, loss=loss)
        folder = str(stage.path / MODEL)
        say(f"fine-tuned: reward=grm reward.model={folder}", config.quiet)
        return _finish(run, [data, stage] if data else [stage], {"model": folder})


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
    from robo_reward.progress.reward_model import load_reward

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
    steps.check_reward(config)
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


def serve_reward(config: Config) -> dict[str, Any]:
    """Serve the reward model to other processes until Ctrl-C or SIGTERM."""
    from robo_reward.progress.reward_model import load_reward
    from robo_reward.service.server import serve

    with RunFolder(config.run.dir, config, "serve-reward", config.quiet) as run:
        used, reward = _reward_model(config)
        return _finish(run, used, serve(load_reward(Path(reward)), config.serve, config.quiet))


def train_base(config: Config) -> dict[str, Any]:
    """Train the base policy."""
    steps.check_base(config)
    with RunFolder(config.run.dir, config, "train-base", config.quiet) as run:
        data = collecting.dataset_stage(config)
        stage = steps.base_stage(config, steps.observed_stage(config, data))
        return _finish(run, [data, stage], {"base_policy": str(stage.path)})


def train(config: Config) -> dict[str, Any]:
    """The whole line: data, reward model and its benchmark, base, residual, evaluation, report."""
    if config.evaluate.policies:
        raise ValueError("evaluate.policies are runs that are over: train evaluates its own, use evaluate")
    return _train_and_evaluate(config, "train")


def learner(config: Config) -> dict[str, Any]:
    """`train` with actors that come from elsewhere; where they are robots, the evaluation is theirs too."""
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
    from robo_reward.runtime.finished import finished_run

    run = finished_run(config.evaluate.policies[0], config)
    _check_evaluation(run.config)
    with RunFolder(config.run.dir, config, "evaluate", config.quiet) as folder:
        return _evaluate_line(run.config, folder, run.data, run.reward, run.base, run.trained)


def _train_and_evaluate(config: Config, command: str) -> dict[str, Any]:
    from robo_reward.learning.device import device_named
    from robo_reward.runtime.clips import clips_stage
    from robo_reward.runtime.local import needs_frames

    _check_evaluation(config)
    steps.check_base(config)
    steps.check_reward(config)
    device_named(config.agent.device)
    with RunFolder(config.run.dir, config, command, config.quiet) as run:
        data = collecting.dataset_stage(config)
        reward = steps.reward_stage(config, data) if needs_frames(config) else None
        bench = steps.bench_stage(config, data, reward) if reward and steps.can_bench(data) else None
        clips = clips_stage(config, data, reward, bench) if reward and bench else None
        seen = steps.observed_stage(config, data)
        base = steps.base_stage(config, seen)
        trained = steps.residual_stage(config, seen, reward, base, run.log)
        if command == "learner" and config.robot:
            say(f"trained; where the robot is: robo-reward evaluate robot=... policies={run.path}", config.quiet)
            used = [stage for stage in (data, reward, base, trained) if stage is not None]
            return _finish(run, used, {"train_folder": str(trained.path)})
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
    return _finish(run, line.stages, summary)


def export(config: Config) -> dict[str, Any]:
    """The trained policy and the reward model as graphs for the robot's computer; with store=, its episodes as a
    LeRobotDataset v3 or a recording of Rerun; with format=grm, questions about the dataset's episodes."""
    if config.format == "grm":
        return _export_questions(config)
    if config.to is None:
        raise ValueError("export needs to=FOLDER: with store=FOLDER a new dataset, else what goes to the robot")
    if config.store is not None:
        return _export_store(config, config.store, config.to)
    if config.format == "rerun":
        raise ValueError("export format=rerun needs store=FOLDER (of a training stage) and to=FILE.rrd")
    with RunFolder(config.run.dir, config, "export", config.quiet) as run:
        if config.reward_model is not None:
            return _finish(run, [], _export_reward(config, Path(config.reward_model), Path(config.to)))
        return _finish(run, *_export_line(config, Path(config.to), run.log))


def _export_store(config: Config, source: str, to: str) -> dict[str, Any]:
    from robo_reward.data.export import export_episodes
    from robo_reward.data.store import TransitionStore, find_store
    from robo_reward.runtime.tasks import task_of

    with RunFolder(config.run.dir, config, "export", config.quiet) as run:
        store, task = TransitionStore(find_store(source)), task_of(config.env)
        entries = progress(store.episodes(), len(store.episodes()), "export", config.quiet)
        episodes = (store.read(entry.episode_id) for entry in entries)
        if config.format == "rerun":
            from robo_reward.data.rerun_file import write_rerun

            Path(to).parent.mkdir(parents=True, exist_ok=True)
            count = write_rerun(episodes, Path(to), task.fps)
        else:
            count = export_episodes(
                episodes, to, fps=task.fps, robot_type=task.robot, task_stages=task.stages, resume=True
            )
        say(f"{count} episodes in {to}", config.quiet)
        return _finish(run, [], {"exported_episodes": count, "dataset": to})


def _export_line(config: Config, to: Path, log: steps.Log) -> tuple[list[StageResult], dict[str, Any]]:
    """The policy that these settings train, and its reward model where they use a compact one."""
    from robo_reward.deploy.step import policy_step
    from robo_reward.deploy.write import write_lerobot, write_policy
    from robo_reward.runtime.local import needs_frames
    from robo_reward.runtime.tasks import task_of

    data = collecting.dataset_stage(config)
    reward = steps.reward_stage(config, data) if needs_frames(config) else None
    seen = steps.observed_stage(config, data)
    base = steps.base_stage(config, seen)
    trained = steps.residual_stage(config, seen, reward, base, log)
    policy = steps.load_base(config, base)
    demo = collecting.read_split(seen.path, "demos", views=())[0]
    agent = steps.load_agent(config, seen, policy, trained)
    step = policy_step(policy, agent, demo.agent_pos.shape[1], demo.perceived.shape[1])
    task, noise = task_of(config.env), config.agent
    about = {
        "env": config.env.id, "observation": config.observation, "instruction": demo.instruction, "fps": task.fps,
        "robot_type": task.robot, "dither": [noise.evaluation_noise, noise.noise_correlation],
    }  # fmt: skip
    summary: dict[str, Any] = {"policy": str(to), "policy_difference": write_policy(step, to, about)}
    say(f"policy: {to}/policy.onnx and .ts, at most {summary['policy_difference']:.1g} from torch's", config.quiet)
    try:
        write_lerobot(step, to / "lerobot")
        say(f"for LeRobot: {to}/lerobot", config.quiet)
    except ImportError:
        say("no folder for LeRobot: it is not installed", config.quiet)
    if reward is not None and config.reward.kind == "compact":
        summary |= _export_reward(config, reward.path, to / "reward_model")
    return [stage for stage in (data, reward, base, trained) if stage], summary


def _export_reward(config: Config, source: Path, to: Path) -> dict[str, Any]:
    from robo_reward.deploy.write import write_reward
    from robo_reward.progress.reward_model import load_reward

    difference = write_reward(load_reward(source), to)
    say(f"reward model: {to}, at most {difference:.1g} from torch's", config.quiet)
    return {"reward_graph": str(to), "reward_difference": difference}


def _export_questions(config: Config) -> dict[str, Any]:
    from robo_reward.runtime.grm_tuning import export_questions

    if config.to is None:
        raise ValueError("export format=grm needs to=FOLDER, a new one for the questions and their pictures")
    with RunFolder(config.run.dir, config, "export", config.quiet) as run:
        data = collecting.dataset_stage(config)
        count = export_questions(config, data)
        say(f"{count} questions in {config.to}", config.quiet)
        return _finish(run, [data], {"exported_questions": count, "training_data": config.to})


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
