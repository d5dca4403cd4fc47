"""Row R3: the reward model is swapped in the middle of a run. Every batch holds potentials of one model, always."""

import gymnasium
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("mujoco")

import robo_reward.envs  # noqa: E402, F401  (registers the environments)
from robo_reward.config import AgentConfig, Config, RewardConfig, TrainConfig  # noqa: E402
from robo_reward.data.store import TransitionStore  # noqa: E402
from robo_reward.data.tracks import Choice, TrackStore  # noqa: E402
from robo_reward.evaluation.rollout import run_policy  # noqa: E402
from robo_reward.learning.replay import EpisodeReplay  # noqa: E402
from robo_reward.policies.scripted import ScriptedPeg  # noqa: E402
from robo_reward.policies.simple import ZeroPolicy  # noqa: E402
from robo_reward.runtime.local import train_residual  # noqa: E402
from robo_reward.testing.faults import record_fault  # noqa: E402
from robo_reward.types import PhiTrack  # noqa: E402

SWAPS = 10
CONFIG = Config(
    quiet=True,
    reward=RewardConfig(kind="oracle"),
    agent=AgentConfig(hidden=8, heads=2, batch=16, updates_per_step=1),
    train=TrainConfig(rollouts=2 * SWAPS + 2, warmup_rollouts=1, warmup_updates=4, evaluate_every=100,
                      evaluate_episodes=1),
)  # fmt: skip


def annotator(name):
    """A reward model whose potential is a constant that tells which one it is."""
    value = np.float32(int(name.removeprefix("model")) / 100)
    return lambda episodes: [
        PhiTrack(name, np.full(len(e) + 1, value), np.ones(len(e) + 1, np.float32)) for e in episodes
    ]


def run(folder, on_rollout):
    env = gymnasium.make("robo_reward/PegInsert-v0", horizon=6)
    base = ZeroPolicy(4)
    demonstrations = list(run_policy(env, ScriptedPeg("weak", 0), [1, 2], source="expert"))
    return train_residual(CONFIG, env, base, demonstrations, annotator("model0"), annotator, folder, on_rollout)


def swaps(folder, patch):
    """Propose another model after every second rollout; returns the potentials in every batch, demonstrations and
    online half together."""
    halves, sample = [], EpisodeReplay.sample

    def watched(self, *arguments):
        batch = sample(self, *arguments)
        halves.append(set(batch.phi_BW.round(6).flat))
        return batch

    def propose(step, rollout, **numbers):
        if rollout % 2 == 0 and rollout // 2 <= SWAPS:
            name = f"model{rollout // 2}"
            TrackStore(folder / "tracks").propose(Choice(name, name))

    patch.setattr(EpisodeReplay, "sample", watched)
    run(folder, propose)
    return [demonstrations | online for demonstrations, online in zip(halves[::2], halves[1::2], strict=True)]


def test_a_swapped_reward_model_never_mixes_with_the_former_one(tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        batches = swaps(tmp_path / "run", patch)
    mixed = [f"one batch holds the potentials {sorted(batch)}" for batch in batches if len(batch) > 1]
    order = sorted({value for batch in batches for value in batch})
    assert np.allclose(order, np.arange(SWAPS + 1) / 100), "every model took over"
    assert [min(batch) for batch in batches] == sorted(min(batch) for batch in batches), "in order"
    tracks = TrackStore(tmp_path / "run/tracks")
    assert tracks.in_force == Choice(f"model{SWAPS}", f"model{SWAPS}")
    stored = [entry.episode_id for entry in TransitionStore(tmp_path / "run/store").episodes()]
    assert set(stored) == set(tracks.read(f"model{SWAPS}")), "every episode was annotated before the swap"

    def careless(self, model_id, known):
        self.model_id = model_id  # only what comes from now on is of the new model

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EpisodeReplay, "swap_tracks", careless)
        control = sum(len(batch) > 1 for batch in swaps(tmp_path / "control", patch))
    record_fault("R3", "reward model swapped in the middle of a run", injected=SWAPS, broken=mixed,
                 control_failed=control)  # fmt: skip


def test_a_run_stopped_after_a_swap_goes_on_with_the_model_in_force(tmp_path):
    class Stop(Exception):
        pass

    def stop(step, rollout, **numbers):
        if rollout == 4:
            TrackStore(tmp_path / "tracks").propose(Choice("model7", "model7"))
        if rollout == 6:
            raise Stop

    with pytest.raises(Stop):
        run(tmp_path, stop)
    assert TrackStore(tmp_path / "tracks").in_force.model_id == "model7"
    run(tmp_path, lambda *arguments, **numbers: None)
    stored = [entry.episode_id for entry in TransitionStore(tmp_path / "store").episodes()]
    tracks = TrackStore(tmp_path / "tracks").read("model7")
    assert set(tracks) == set(stored) and all(np.allclose(track.phi, 0.07) for track in tracks.values())


def test_a_proposal_that_does_not_fit_is_told_and_the_run_goes_on(tmp_path, capsys):
    def propose(step, rollout, **numbers):
        if rollout == 3:
            TrackStore(tmp_path / "tracks").propose(Choice("model1", "model1-but-it-cannot-be-read"))

    assert run(tmp_path, propose)["rollouts"] == CONFIG.train.rollouts
    assert capsys.readouterr().out.count("the proposed reward model model1 is not taken up") == 1
    assert TrackStore(tmp_path / "tracks").in_force is None


def test_a_model_that_lacks_an_episode_is_not_put_in_force(tmp_path):
    tracks = TrackStore(tmp_path)
    tracks.write("new", {"a": PhiTrack("new", np.zeros(3, np.float32), np.ones(3, np.float32))})
    with pytest.raises(ValueError, match="1 episodes lack a track of new, such as b"):
        tracks.put_in_force(Choice("new", "somewhere"), ["a", "b"])
    assert tracks.in_force is None
    with pytest.raises(ValueError, match="outside"):
        tracks.write("new", {"b": PhiTrack("new", np.full(3, np.nan, np.float32), np.ones(3, np.float32))})
    with pytest.raises(ValueError, match="must consist of letters"):
        tracks.propose(Choice("../../etc", "x"))


pytestmark = pytest.mark.fault
