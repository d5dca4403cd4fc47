"""The control loop of a live session: one arm, one policy, one operator at the mailbox, episodes under the protocol.

The loop owns the environment and is its only writer. Other threads talk to it through three things: `operator` (the
newest input of the device), `post` (events of the protocol) and `view` (what there is to see). A learner shares the
loop's thread: it works between two episodes and lets the session `breathe`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from robo_reward.console.curves import MARKS, Curves, Term
from robo_reward.console.labels import ACTOR, Labels, episode_name
from robo_reward.console.live_episode import LiveEpisode, Watch
from robo_reward.console.log import SessionLog
from robo_reward.console.mailbox import Mailbox, Requests
from robo_reward.data.disk import replace_file
from robo_reward.data.store import TransitionStore
from robo_reward.hil.arbitration import Arbiter
from robo_reward.hil.corrected import CorrectedActor
from robo_reward.hil.corrected import Policy as PlanningActor
from robo_reward.hil.protocol import IN_FLIGHT, LABELS, Protocol
from robo_reward.types import Episode

COMMANDS = ("arm", "disarm", "start", "pause", "resume", *LABELS, "undo", "e_stop", "clear")
"""Events that come from outside; the loop itself tells of the others."""


class Refusal(ValueError):
    """What an operator asked for is not possible; the session goes on."""


@dataclass
class View:
    """What there is to see; replaced as a whole, so that any thread may read it."""

    state: Mapping[str, Any] = field(default_factory=dict)
    """JSON values."""
    frames: Mapping[str, np.ndarray] = field(default_factory=dict)
    number: int = 0
    """Counts frames."""


class Session:
    """A session's folder: store/ with every episode, protocol.json with its state and labels, outcomes.json with the
    labels by episode (what `bench-reward outcomes=` reads), curves/ with what the page drew of each episode, log.jsonl
    with what happened when.

    Arguments:
        env: the world, used by the thread that calls `run` or `run_until` alone.
        actor: makes the policy's actor of one episode.
        folder: gone on with when it holds a session.
        fps: control steps a second.
        first_seed: of the first scene's initial state; the next scene has the next one.
        watch: makes the reward model's eye on one episode, given its instruction, or None for one it does not know.
        query_every: [steps] between the frames that the store keeps.
        stale_s: age [s] from which an operator's input counts as lost.
        blend_steps: steps of a hand-over between policy and operator.
        store: where the episodes go, under the actor `name`, in place of a store of the session's own.
        name: likewise.
        automatic: judges an episode that ended without a person's label, None where it cannot; then the next one starts
            by itself. None leaves all that to a person.
        term: what shaping adds to a step's reward, for the page.
        at_place: lets the next reset with a seed begin at a place, given the place's number and the seed; ValueError
            for a number that it does not know.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        actor: Callable[[], PlanningActor],
        folder: Path,
        *,
        fps: int,
        first_seed: int,
        watch: Callable[[str], Watch | None] | None = None,
        query_every: int = 4,
        stale_s: float = 0.2,
        blend_steps: int = 3,
        store: TransitionStore | None = None,
        name: str = ACTOR,
        automatic: Callable[[Episode], bool | None] | None = None,
        at_place: Callable[[int, int], None] | None = None,
        term: Term | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.env, self.actor, self.fps, self.first_seed = env, actor, fps, first_seed
        self._make_watch, self.query_every, self.stale_s, self.clock = watch, query_every, stale_s, clock
        self.blend_steps, self.name, self.automatic, self._at_place = blend_steps, name, automatic, at_place
        self.action_size = int(np.prod(env.action_space.shape or ()))
        self.folder, self._own = folder, store is None
        (folder / "curves").mkdir(parents=True, exist_ok=True)
        self.store = TransitionStore(folder / "store", writable=True) if store is None else store
        self.protocol = Protocol(folder / "protocol.json")
        self.labels = Labels(self.protocol, self.store, folder)
        self.log = SessionLog(folder / "log.jsonl")
        self.figures: Mapping[str, Any] = {}
        """What a learner has to show, JSON values."""
        self.operator, self.view = Mailbox(), View()
        self._requests, self._term = Requests(), term
        self._holds = env.has_wrapper_attr("hold")
        """Whether the world is a robot, which keeps the time itself and is told to rest."""
        self._stopped, self._overruns, self._steps, self._notice, self._busy = False, 0, 0, "", ""
        self._due, self._going = 0.0, False
        self._info: Mapping[str, Any] = {}
        self._place, self._began_at = (-1, -1), -1
        """A scene and the place that it was put at; the place that the newest episode began at, -1 for none."""
        self._live: LiveEpisode | None = None
        """The newest episode; None before the first."""
        self._running = False
        """Whether it is under way."""
        self._unjudged: Episode | None = None
        self._curve = 0
        """Counts episodes, re-judged ones once: whose curves they are."""
        self._arbiter: Arbiter

    # ---- for other threads ----

    def post(self, event: str) -> Future[str]:
        """Ask for an event of the protocol; the future gives the new state, or the ValueError that refuses it.

        An e-stop overtakes every other event.
        """
        return self._requests.post(event)

    def relabel(self, name: str, label: str) -> Future[str]:
        """Ask to judge a past episode anew; the future gives the state, or the ValueError that refuses it."""
        return self.post(f"relabel {name} {label}")

    def leave_alone(self) -> Future[str]:
        """Say that nobody is left who could stop the arm: it pauses, and starts no episode by itself."""
        return self.post("leave_alone")

    def note(self, what: str) -> None:
        """A line of the session's log."""
        self.log.add(len(self.protocol.labels), what)

    @property
    def completed(self) -> bool | None:
        """Whether the reward model calls the newest episode done; None where it did not see it."""
        return self._live.completed if self._live and self._live.curves.model else None

    def stop(self) -> None:
        """Let `run` return after the present step."""
        self._stopped = True

    # ---- the loop ----

    def run(self) -> None:
        """Serve events and step the world at `fps` until `stop`; an episode under way is kept, marked aborted."""
        with self:
            while not self._stopped:
                self._tick()

    def go(self) -> None:
        """Let an automatic session start its first episode by itself; one that a kill left unjudged is discarded."""
        self._going = True
        if self.protocol.state == "judging":
            self._apply("discard", "unattended", unattended=True)

    def run_until(self, done: Callable[[], bool]) -> None:
        """The same until `done`, asked once a step. KeyboardInterrupt after `stop`."""
        self._busy = ""
        while not done():
            if self._stopped:
                raise KeyboardInterrupt
            self._tick()

    def breathe(self, busy: str) -> None:
        """Serve events between two episodes, without touching the world; to be called often by whoever works there.

        It returns at once unless a step is due, and not before an e-stop is cleared. KeyboardInterrupt after `stop`.

        Args:
            busy: what goes on, for the operator; no episode starts meanwhile.
        """
        self._busy = busy
        while self.clock() >= self._due or self.protocol.state == "e_stopped":
            if self._stopped:
                raise KeyboardInterrupt
            self._tick()

    def __enter__(self) -> Session:
        self._show_scene()
        self._due = self.clock()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        """After a failure nothing more is written, but the store is let go."""
        try:
            if kind is None or issubclass(kind, KeyboardInterrupt):
                self._keep()
                self.protocol.abandon()
        finally:
            self._requests.close(Refusal("the session has ended"))
            if self._own:
                self.store.close()

    def _tick(self) -> None:
        """One period: what leads to the next episode, events until it is time, then a step of the world.

        In this order, so that after a label a learner has its turn before the next episode can be asked for.
        """
        if not self._busy:
            self._prepare()
        self._serve(self._due)
        if self.protocol.state in ("running", "taken_over"):
            self._step()
        self._publish()
        self._due += 1 / self.fps
        late = self.clock() - self._due
        if late > (1 / self.fps if self._holds else 0):  # a robot's step lasts a period by itself
            self._overruns += not self._busy
            self._due = self.clock()

    def _prepare(self) -> None:
        """Towards the next episode."""
        state = self.protocol.state
        if state == "resetting":
            self._show_scene()
            self.protocol.apply("reset_done")
        elif self.automatic and state == "judging":
            self._judge(self.automatic)
        elif self.automatic and self._going and state == "idle":
            self.protocol.apply("arm")
        elif self.automatic and self._going and state == "armed":
            self._apply("start", "by itself")
            self._begin()

    def _judge(self, automatic: Callable[[Episode], bool | None]) -> None:
        """Once an episode: one that was put up for judgement again is a person's."""
        episode, self._unjudged = self._unjudged, None
        success = automatic(episode) if episode is not None else None
        if success is not None:
            self._apply("success" if success else "failure", "by itself", unattended=True)
            self.labels.write()

    def _serve(self, until: float) -> None:
        """Answer events until it is time for the next step, one of them in any case."""
        while True:
            if (asked := self._requests.wait(until - self.clock())) is None:
                return
            event, reply = asked
            try:
                if event.startswith("relabel "):
                    reply.set_result(self._relabel(*event.split(" ", 2)[1:]))
                elif event == "leave_alone":
                    reply.set_result(self._leave_alone())
                elif event.startswith("place "):
                    reply.set_result(self._begin_at(int(event.split(" ")[1])))
                else:
                    self._check(event)
                    self._obey(event, reply)
            except Refusal as refusal:
                reply.set_exception(refusal)
            self._publish()
            if self.clock() >= until:
                return

    def _apply(self, event: str, why: str = "", unattended: bool = False) -> str:
        """Let the protocol go on, and say so in the log."""
        number = len(self.protocol.labels)
        try:
            return self.protocol.apply(event, unattended)
        finally:  # an e-stop that no disk could keep is in force all the same
            self.log.add(number, f"{event}: {why}" if why else event)

    def _relabel(self, name: str, label: str) -> str:
        try:
            self.labels.relabel(name, label)
        except ValueError as error:
            raise Refusal(str(error)) from None
        self.note(f"{name} judged anew: {label}")
        return self.protocol.state

    def _leave_alone(self) -> str:
        self._going = False
        if self.protocol.state in ("running", "taken_over"):
            self._apply("pause", "no page is connected")
            self._arbiter.pause()
            self._hold("no page is connected")
            self._notice = "paused: no page was connected that could have stopped the arm"
        return self.protocol.state

    def _begin_at(self, place: int) -> str:
        """Put the present scene there; it comes again when the episode is re-recorded."""
        if self._at_place is None or self._busy or self.protocol.state not in ("idle", "armed"):
            raise Refusal(f"an episode begins at a place before it is started, not while {self.protocol.state}")
        try:
            self._at_place(place, self.first_seed + self.protocol.scene)
        except ValueError as error:
            raise Refusal(str(error)) from None
        self._place = self.protocol.scene, place
        self.note(f"the scene is put at place {place}")
        self._show_scene()
        return self.protocol.state

    def _check(self, event: str) -> None:
        if event not in COMMANDS:
            raise Refusal(f"{event!r} is no command: choose {', '.join(COMMANDS)}")
        try:
            self.protocol.check(event)
        except ValueError as error:
            raise Refusal(str(error)) from None
        if event == "start" and self._busy:
            raise Refusal(f"{self._busy}: the next episode starts when that is done")
        if event in LABELS and self.protocol.state in IN_FLIGHT and not self._live:
            raise Refusal("the episode has no step yet: judge it after the first")

    def _obey(self, event: str, reply: Future[str]) -> None:
        """A disk or a world that fails ends the session: it must not go on with an arm that nobody records."""
        in_flight, self._notice = self.protocol.state in IN_FLIGHT, ""
        try:
            if in_flight and event in LABELS:
                self._keep()  # before its label, which must not be of an episode that a crash has taken
            state = self._apply(event)
            if event in (*LABELS, "undo"):
                self._unjudged = None
                self.labels.write()
            if event in ("start", "disarm", "e_stop"):  # the first start, and the one after a stop, are a person's
                self._going = event == "start"
            if event == "start":
                self._begin()
            elif event == "resume":
                self._arbiter.resume()
            elif event == "pause":
                self._arbiter.pause()
                self._hold("paused at the console")
            elif in_flight and event == "e_stop":
                self._keep()
        except BaseException as error:
            reply.set_exception(error)
            raise
        reply.set_result(state)

    def _show_scene(self) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """Put the world into the initial state of the present scene."""
        observation, info = self.env.reset(seed=self.first_seed + self.protocol.scene)
        self._info = info
        self._look()
        return observation, info

    def _begin(self) -> None:
        observation, info = self._show_scene()
        self._number = len(self.protocol.labels)
        self._began_at = self._place[1] if self._place[0] == self.protocol.scene else -1
        self._curve += 1
        self._arbiter = Arbiter(self.action_size, stale_s=self.stale_s, blend_steps=self.blend_steps, clock=self.clock)
        self._live, self._running = LiveEpisode(
            CorrectedActor(self.actor(), self.operator, self._arbiter), self.first_seed + self.protocol.scene,
            observation, info, self.view.frames,
            watch=None if self._make_watch is None else self._make_watch(info["instruction"]),
            term=self._term, query_every=self.query_every,
        ), True  # fmt: skip

    def _step(self) -> None:
        assert self._live is not None
        source = self._live.step(self.env, self._look)
        self._info = self._live.info
        self._steps += 1
        if source == "human" and self.protocol.state == "running":
            self._apply("take_over")
        elif source == "policy" and self.protocol.state == "taken_over":
            self._apply("release")
        if self._live.ended:
            self._keep()
            if len(self._live):
                self._apply("finish", "success, says the world" if self._info["is_success"] else "")
            else:  # nothing is there that could be judged
                self._apply("re_record", "no step", unattended=True)
            self._notice = f"the robot ended the episode: {fault}" if (fault := self._info.get("fault")) else ""
        elif source == "pause":
            self._apply("pause", "the operator's input is lost")
            self._hold("the operator's input is lost")
            self._notice = "paused: the operator's input went away, was wrong, or came too late"

    def _keep(self) -> None:
        """The episode under way into the store; one that was cut off counts as truncated."""
        live, running, self._running = self._live, self._running, False
        if live is None or not running:
            return
        if not live.ended:
            self._hold("the episode was ended at the console")
        if not len(live):
            return
        name, driven = episode_name(self._number), live.curves.sources.count(MARKS["human"])
        replace_file(self.folder / "curves" / f"{name}.json", json.dumps(live.curves.state()).encode())
        self._unjudged = episode = replace(live.episode(self.view.frames), episode_id=name)
        known = self.store.index.actors.get(self.name)
        self.store.append_episode(self.name, known.acknowledged + 1 if known else 0, episode)
        self.log.add(self._number, "kept", steps=len(live), driven=driven, place=self._began_at)

    def _hold(self, reason: str) -> None:
        """A robot would wait for the next action until its watchdog stopped it; a simulated world stands still."""
        if self._holds:
            self.env.get_wrapper_attr("hold")(reason)

    # ---- what there is to see ----

    def _look(self) -> Mapping[str, np.ndarray]:
        frames = self.env.get_wrapper_attr("render_views")()
        self.view = View(self.view.state, frames, self.view.number + 1)
        return frames

    def _publish(self) -> None:
        protocol = self.protocol
        kept = [self.log.kept.get(number, {}) for number in range(len(protocol.labels))]
        state = {
            "clock": self.clock(),
            "state": protocol.state,
            "possible": [e for e in protocol.possible() if e in COMMANDS and not (self._busy and e == "start")],
            "busy": self._busy,
            "figures": self.figures,
            "episode": len(protocol.labels),
            "scene": protocol.scene,
            "labels": list(protocol.labels),
            "by_hand": [[of.get("driven", 0), of.get("steps", 0)] for of in kept],
            "log": list(self.log.newest),
            "fps": self.fps,
            "instruction": self._info["instruction"],
            "curve": self._curve,
            **(self._live.curves if self._live else Curves()).state(),
            "success": bool(self._info["is_success"]),
            "completed": bool(self._live and self._live.completed),
            "age_s": self._info.get("age_s", 0.0),
            "fault": self._info.get("fault", ""),
            "driven": self.operator.driven,
            "notice": self._notice,
            "steps": self._steps,
            "overruns": self._overruns,
        }
        self.view = View(state, self.view.frames, self.view.number)
