"""An actor's spool: killed after any step it holds every transition but the one under way, once and in order."""

import shutil

import gymnasium
import numpy as np
import pytest

pytest.importorskip("cv2")
pytest.importorskip("mujoco")
pytest.importorskip("torch")

import robo_reward.envs  # noqa: F401  (registers the environments)
from robo_reward.data.store import TransitionStore
from robo_reward.evaluation.rollout import run_episode
from robo_reward.policies.simple import ZeroPolicy
from robo_reward.progress.annotate import stored_at
from robo_reward.runtime.acting import ResidualRollout
from robo_reward.runtime.spool import Spool


class Still:
    """Stands in for an agent."""

    settings, action_size, columns, eyes = None, 4, None, None

    def act(self, state, base, frames, **_):
        return np.full(4, 0.5, np.float32)


def views():
    return {"front": np.full((16, 16, 3), 7, np.uint8)}


def play(spool, seed=5, every=3, after=lambda step: None):
    """A rollout of seven steps into the spool; `after` is called once a transition is written."""
    env = gymnasium.make("robo_reward/PegInsert-v0", horizon=7)
    env.unwrapped.render_views = views
    act = ResidualRollout(ZeroPolicy(4), Still())
    act.explore = None

    def follow(recorder):
        spool.follow(recorder)
        after(len(recorder))

    return run_episode(env, act, seed=seed, source="policy", query_every=every, follow=follow)


def send(spool, folder, name="online-0"):
    """Everything that the spool holds into the store of that folder."""
    with TransitionStore(folder, writable=True) as store:
        while batch := spool.batch(200):
            spool.acknowledge(store.append(name, batch) + 1)
        return [store.read(entry.episode_id) for entry in store.episodes()]


def assert_same(first, second, steps):
    """The first `steps` transitions of both."""
    for name in ("agent_pos", "estimate", "base_action", "stage", "oracle"):
        np.testing.assert_array_equal(getattr(first, name)[: steps + 1], getattr(second, name)[: steps + 1])
    for name in ("action", "reward", "gated"):
        np.testing.assert_array_equal(getattr(first, name)[:steps], getattr(second, name)[:steps])


def test_what_is_spooled_step_by_step_is_the_whole_episode(tmp_path):
    spool = Spool(tmp_path / "spool")
    played = play(spool)
    [found] = send(spool, tmp_path / "store")
    assert len(found) == len(played) == 7
    assert_same(found, played, 7)
    assert (found.seed, found.base_id, found.truncated) == (5, played.base_id, True)
    np.testing.assert_array_equal(found.frame_steps, [0, 3, 6, 7])
    np.testing.assert_array_equal(found.frames["front"], played.frames["front"])
    assert spool.records == 0 and spool.finished == 0


def test_killed_after_any_step_the_rest_is_closed_and_nothing_else_is_lost(tmp_path):
    spool, copies = Spool(tmp_path / "spool"), {}

    def copy(step):
        copies[step] = tmp_path / f"copy{step}"
        shutil.copytree(tmp_path / "spool", copies[step])

    played = play(spool, after=copy)
    for step, folder in copies.items():
        again = Spool(folder)
        episodes = send(again, tmp_path / f"store{step}")
        if step == 0:
            assert not episodes and again.newest_seed is None
            continue
        [found] = episodes
        assert len(found) == step, "a complete transition was lost"
        assert found.truncated and not found.terminated
        assert_same(found, played, step)
        assert len(stored_at(found, 3)) == len(range(0, step + 1, 3)) + (step == 7), "it can be annotated"
        play(again, seed=6)
        assert len(send(again, tmp_path / f"store{step}")) == 2, "the replacement cannot go on"


def test_a_cut_episode_with_a_foreign_gap_is_still_refused(tmp_path):
    spool = Spool(tmp_path / "spool")
    play(spool)
    [found] = send(spool, tmp_path / "store")
    with pytest.raises(ValueError, match="no frame at step 2"):
        stored_at(found, 2)


def test_what_the_learner_has_is_deleted_and_not_sent_again(tmp_path):
    spool = Spool(tmp_path / "spool")
    play(spool)
    assert spool.finished == 1
    following = spool.next
    spool.acknowledge(following - 1)
    spool.close()
    again = Spool(tmp_path / "spool")
    again.acknowledge(following - 1)
    assert [sequence for sequence, _, _ in again.batch(1000)] == [following - 1]
    play(again, seed=6)
    again.acknowledge(following)
    assert again.batch(1)[0][0] == following
    assert not (tmp_path / "spool" / "000001.log").exists(), "an acknowledged segment was kept"


def test_a_lost_spool_goes_on_where_the_learner_is(tmp_path):
    first = Spool(tmp_path / "spool")
    play(first)
    send(first, tmp_path / "store")
    other = Spool(tmp_path / "other")
    other.acknowledge(first.next)
    play(other, seed=6)
    assert [episode.seed for episode in send(other, tmp_path / "store")] == [5, 6]


def test_a_segment_that_is_full_is_synced_too(tmp_path, monkeypatch):
    monkeypatch.setattr("robo_reward.runtime.spool._SEGMENT_BYTES", 2000)
    spool, synced = Spool(tmp_path / "spool"), []
    monkeypatch.setattr(spool._disk, "sync_file", lambda path: synced.append(path.name))
    play(spool)
    segments = sorted(path.name for path in (tmp_path / "spool").glob("*.log"))
    assert len(segments) > 1
    spool.sync()
    assert synced == segments[:-1]
    spool.sync()
    assert synced == segments[:-1], "once"


def test_two_actors_in_one_spool_are_one_line(tmp_path):
    _kept = Spool(tmp_path / "spool")
    with pytest.raises(ValueError, match="another actor works in .*runtime.actor="):
        Spool(tmp_path / "spool")
