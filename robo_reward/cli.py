"""`robo-reward <command> [settings]`: every command is a Hydra application.

A user's mistake (a wrong word, a missing file, a missing extra) ends in one line on standard error and exit code 2, an
interruption in one line and exit code 130. HYDRA_FULL_ERROR=1 shows tracebacks instead.
"""

from __future__ import annotations

import importlib
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from robo_reward import __version__
from robo_reward.config import Config, from_hydra, own_files, register
from robo_reward.examples import examples
from robo_reward.extras import missing_extra
from robo_reward.settings import leaf_keys, unknown


@dataclass(frozen=True)
class Command:
    """One word of the command line."""

    summary: str
    function: str = ""
    """`module:function` taking a Config; imported when the command runs. Empty: its namesake in runtime.pipeline."""
    leaves_folder: bool = True
    """Whether it writes a run folder."""
    composed: bool = True
    """Whether it takes a Config; if not, the words as they were typed."""
    by_hand: str = ""
    """`module:function` that takes the words as they were typed when `teleop=` or `bag=` is among them."""


COMMANDS: dict[str, Command] = {
    "collect": Command(
        "record demonstrations and weak, validation and test rollouts as a LeRobotDataset; with robot= and teleop= or "
        "bag=, a person's or those of recorded bags",
        by_hand="robo_reward.runtime.by_hand:main",
    ),
    "label": Command("turn keyframes and outcomes into the potential of every frame"),
    "train-reward": Command("train the process reward model on balanced hop pairs"),
    "bench-reward": Command(
        "measure the reward model against controls and the oracle, score video.CAMERA=FILE, or check it on store="
    ),
    "annotate": Command(
        "write the reward model's potential of every episode, of store=, or of dataset= into a copy to="
    ),
    "serve-reward": Command("serve the reward model over HTTP to other processes and machines"),
    "train-base": Command("train the base policy, then frozen"),
    "train": Command("everything above as far as it is missing, then the shaped residual learner, then the report"),
    "learner": Command("train with actors that come from elsewhere: waits for them at runtime.listen="),
    "actor": Command(
        "play for the learner at runtime.connect=HOST:PORT until its run is over",
        "robo_reward.runtime.actor:actor",
        leaves_folder=False,
    ),
    "evaluate": Command(
        "base against trained policy on paired initial states; policies=RUN,RUN of finished runs, blind with robot=; "
        "plan=0.8,0.95; compare=SIM,REAL"
    ),
    "identify": Command(
        "fit PegInsert's arm to the one of robot=, into to=FILE.json for env.arm=",
        "robo_reward.runtime.identifying:identify",
    ),
    "console": Command(
        "a live session in the browser: watch, take over, judge episodes", "robo_reward.console.command:console"
    ),
    "export": Command(
        "the trained policy and reward model as ONNX and TorchScript to=FOLDER; with store=, its episodes as a "
        "LeRobotDataset; with format=grm, questions to teach a vision-language reward model"
    ),
    "runs": Command(
        "list the run folders; to=FOLDER compares them", "robo_reward.runtime.runs:runs", leaves_folder=False
    ),
    "doctor": Command(
        "check rendering, video and packages, or a transition store with store=",
        "robo_reward.doctor:doctor",
        leaves_folder=False,
    ),
    "robot": Command(
        "check, jog, home, record, replay: a robot by hand; `robot help` says how",
        "robo_reward.hardware.operate:main",
        leaves_folder=False,
        composed=False,
    ),
}

EXAMPLES = """\
examples:
  robo-reward train                                  the default experiment
  robo-reward train experiment=smoke                 the whole line in its smallest size
  robo-reward train shaping=none seed=1 agent.heads=5
  robo-reward train -m seed=0,1,2                    one run after the other
  robo-reward train --help                           examples and all settings of a command
  robo-reward annotate dataset=pens to=pens_scored   your dataset with progress columns, for any trainer
  robo-reward doctor store=runs/stages/train-...     check what a run has stored
  eval "$(robo-reward -sc install=bash)"             completion in this shell
"""


def main(
    argv: Sequence[str] | None = None, commands: Mapping[str, Command | Callable[[Config], Any]] = COMMANDS
) -> None:
    """Run one command and leave with its exit code: 0, 2 for a user's mistake, 130 when interrupted.

    Args:
        argv: the words after `robo-reward`; the process's own by default.
        commands: name -> Command, or a function of the Config.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage(commands))
        raise SystemExit(0)
    if words[0] == "--version":
        print(__version__)
        raise SystemExit(0)
    if words[0] in ("-sc", "--shell-completion"):
        words = _completion(words, commands)
    name, rest = words[0], words[1:]
    tracebacks = os.environ.get("HYDRA_FULL_ERROR") == "1"
    previous = sys.argv
    try:
        if name not in commands:
            print(f"robo-reward: {unknown('command', name, commands)}", file=sys.stderr)
            raise SystemExit(2)
        if not getattr(commands[name], "composed", True):
            _function(name, commands[name])(rest)  # type: ignore[arg-type]
            raise SystemExit(0)
        if (by_hand := getattr(commands[name], "by_hand", "")) and any(is_by_hand(word) for word in rest):
            _imported(by_hand)(rest)
            raise SystemExit(0)
        if {"-h", "--help"} & set(rest) and (shown := examples(name)):
            print(f"examples:\n{shown}\n")
        sys.argv = ["robo-reward", *words]
        failures = _run(name, commands[name], _options_first(rest), tracebacks)
    except KeyboardInterrupt:
        print("interrupted; run the same command again to resume", file=sys.stderr)
        raise SystemExit(130) from None
    except Exception as error:
        line = None if tracebacks else explain(error)
        if line is None:
            raise
        failures = [line]
    finally:
        sys.argv = previous
    for line in failures:
        print(f"robo-reward {name}: {line}", file=sys.stderr)
    raise SystemExit(2 if failures else 0)


def is_by_hand(word: str) -> bool:
    """Whether a setting makes a command one that is not composed, see `Command.by_hand`."""
    return word.startswith(("teleop=", "bag="))


def usage(commands: Mapping[str, Any] = COMMANDS) -> str:
    """The text of `robo-reward --help`."""
    rows = [f"  {name:<13} {getattr(command, 'summary', '')}" for name, command in commands.items()]
    return "\n".join(["robo-reward <command> [setting=value ...]", "", "commands:", *rows, "", EXAMPLES.rstrip()])


def explain(error: BaseException) -> str | None:
    """One line for a user's mistake; None for what is our own."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    if isinstance(error, ImportError):
        return missing_extra(error)
    if isinstance(error, (HydraException, OmegaConfBaseException)):
        return _explain_hydra(str(error))
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename is not None else ""
        return f"{where}{error.strerror}"
    if isinstance(error, (ValueError, OSError)):
        return " ".join(str(error).split()) or type(error).__name__
    return None


def _explain_hydra(message: str) -> str:
    first = message.strip().splitlines()[0] if message.strip() else "wrong settings"
    defaults = asdict(Config())
    if found := re.search(r"Could not (?:override|delete)[^']*'([^']+)'", message):
        word = found[1].split("@")[0]
        known = [*leaf_keys(defaults), "experiment"]
        return unknown("setting", word, known if "." in word else [key for key in known if "." not in key])
    if found := re.search(r"Could not find '([^']+)/([^'/]+)'", message):
        options = re.search(r"Available options in '[^']*':\n((?:\t[^\n]+\n?)+)", message)
        return unknown(found[1], found[2], options[1].split() if options else [])
    if "Ambiguous value for argument" in message:
        return f"{first}: a list is written [a,b], a sweep needs -m"
    unread = ("mismatched input", "LexerNoViableAlt", "extraneous input", "no viable alternative")
    if any(words in message for words in unread):
        return f"cannot read the settings ({first}): they are written name=value"
    if first.startswith("Error parsing override"):
        return f"{first}: settings are written name=value"
    return first


def _options_first(words: list[str]) -> list[str]:
    """`-m` may stand anywhere; an option that Hydra does not know is most likely a setting with dashes."""
    from hydra._internal.utils import get_args_parser

    known = get_args_parser()._option_string_actions
    for word in words:
        option = word.split("=")[0]
        if option.startswith("-") and option not in known:
            name = option.strip("-")
            raise ValueError(f"unknown option '{option}': settings are written without dashes, {name or 'seed'}=value")
    words = own_files(words)
    sweep = [word for word in words if word in ("-m", "--multirun")]
    return [*sweep, *(word for word in words if word not in sweep)]


def _completion(words: list[str], commands: Mapping[str, Any]) -> list[str]:
    """The command that answers the shell's question; Hydra completes settings and knows nothing of our first word."""
    if words[1:] != ["query=bash"]:
        return ["train", *words]
    typed = os.environ.get("COMP_LINE", "").split(" ")
    if len(typed) < 3:
        print(" ".join(commands))
        raise SystemExit(0)
    os.environ["COMP_LINE"] = " ".join([typed[0], *typed[2:]])
    return [typed[1], *words]


def _run(name: str, command: Command | Callable[[Config], Any], words: list[str], tracebacks: bool) -> list[str]:
    """Hand over to Hydra; returns the lines of jobs that failed by a user's mistake."""
    import hydra

    failures: list[str] = []
    typed = sys.argv

    def job(composed: Any) -> None:
        sys.argv = typed  # what summary.json repeats
        try:
            config = from_hydra(composed)
            _refuse_shared_folder(config)
            _function(name, command)(config)
        except Exception as error:  # caught here because Hydra would print lines of its own around it
            _leave_no_empty_folder()
            line = None if tracebacks else explain(error)
            if line is None:
                raise
            failures.append(line)  # a sweep goes on with its other jobs

    _quieten_libraries()
    register(name)
    tool = isinstance(command, Command) and not command.leaves_folder
    application = hydra.main("pkg://robo_reward.conf", "tool" if tool else "config", version_base="1.3")(job)
    # MUJOCO_GL: the simulator renders without a display. HYDRA_FULL_ERROR: Hydra raises its errors to main().
    os.environ.setdefault("MUJOCO_GL", "egl")
    before = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    sys.argv = ["robo-reward", *words]
    try:
        application()
    finally:
        sys.argv = typed
        if before is None:
            del os.environ["HYDRA_FULL_ERROR"]
    return failures


def _function(name: str, command: Command | Callable[[Config], Any]) -> Callable[[Config], Any]:
    if not isinstance(command, Command):
        return command
    return _imported(command.function or f"robo_reward.runtime.pipeline:{name.replace('-', '_')}")


def _imported(path: str) -> Callable[[Any], Any]:
    module, _, function = path.partition(":")
    found: Callable[[Any], Any] = getattr(importlib.import_module(module), function)
    return found


def _refuse_shared_folder(config: Config) -> None:
    """In a sweep every job has a folder of its own, below run.root."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    job = HydraConfig.get()
    if job.mode == RunMode.MULTIRUN and os.path.abspath(config.run.dir) != os.path.abspath(job.runtime.output_dir):
        raise ValueError("run.dir cannot be set in a sweep, its jobs would share it: set run.root")


def _leave_no_empty_folder() -> None:
    """Take away the run folder, which Hydra makes before a command, where the command began nothing in it."""
    from hydra.core.hydra_config import HydraConfig

    folder = HydraConfig.get().runtime.output_dir
    with suppress(OSError):
        if not os.path.samefile(folder, os.getcwd()):
            os.rmdir(folder)


def _quieten_libraries() -> None:
    """Keep libraries' notes off the terminal; `python -W` brings the warnings back."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    for library in ("robosuite_logs", "datasets", "absl", "matplotlib", "PIL"):
        logging.getLogger(library).setLevel(logging.ERROR)
    os.environ.setdefault("SVT_LOG", "1")  # the AV1 encoder: errors only
