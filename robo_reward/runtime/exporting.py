"""The command `export`: graphs for the robot's computer, episodes as datasets, questions for a language model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from robo_reward.config import Config
from robo_reward.runtime import collecting, steps
from robo_reward.runtime.run_folder import RunFolder, make_folder
from robo_reward.runtime.stages import StageResult, finish_run
from robo_reward.terminal import progress, say


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
    _check_target(Path(config.to))
    with RunFolder(config.run.dir, config, "export", config.quiet) as run:
        if config.reward_model is not None:
            return finish_run(run, [], _export_reward(config, Path(config.reward_model), Path(config.to)))
        return finish_run(run, *_export_line(config, Path(config.to), run.log))


PARTS = ("policy", "encoder", "head", "references", "reward_model", "lerobot")
"""What an export is made of, whatever the suffix; also one that was interrupted, and one beside the other's folder."""


def _check_target(to: Path) -> None:
    """Raises ValueError for a folder that cannot be written, or holds anything but parts of an export."""
    make_folder(to, "to")
    if others := sorted(path.name for path in to.iterdir() if path.name.lstrip(".").split(".")[0] not in PARTS):
        raise ValueError(f"{to} holds {others[0]} and is no earlier export: choose another folder with to=")


def _export_store(config: Config, source: str, to: str) -> dict[str, Any]:
    from robo_reward.data.export import check_origin, export_episodes
    from robo_reward.data.store import TransitionStore, find_store
    from robo_reward.runtime.tasks import task_of

    with RunFolder(config.run.dir, config, "export", config.quiet) as run:
        store, task = TransitionStore(find_store(source)), task_of(config.env)
        entries = progress(store.episodes(), len(store.episodes()), "export", config.quiet)
        episodes = (store.read(entry.episode_id) for entry in entries)
        if config.format == "rerun":
            from robo_reward.data.rerun_file import write_rerun

            make_folder(Path(to).parent, "to")
            count = write_rerun(episodes, Path(to), task.fps)
        else:
            make_folder(Path(to), "to")
            check_origin(to, store)
            count = export_episodes(
                episodes, to, fps=task.fps, robot_type=task.robot, task_stages=task.stages, resume=True
            )
        say(f"{count} episodes in {to}", config.quiet)
        return finish_run(run, [], {"exported_episodes": count, "dataset": to})


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
    make_folder(Path(config.to), "to")
    with RunFolder(config.run.dir, config, "export", config.quiet) as run:
        data = collecting.dataset_stage(config)
        count = export_questions(config, data)
        say(f"{count} questions in {config.to}", config.quiet)
        return finish_run(run, [data], {"exported_questions": count, "training_data": config.to})
