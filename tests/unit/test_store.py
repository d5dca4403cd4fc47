"""The transition store: what was acknowledged is there, once, and only whole episodes are handed out."""

import dataclasses
import json

import numpy as np
import pytest

from robo_reward.data.disk import Disk
from robo_reward.data.episode_records import BEGIN, STEP, encode_episode
from robo_reward.data.store import TransitionStore, find_store, repair, verify
from robo_reward.testing.faulty_disk import FaultyDisk
from robo_reward.types import Episode


def make_episode(name="policy-7: Größe", steps=7, **changes):
    rng = np.random.default_rng(steps)
    frame_steps = np.unique([0, steps // 2, steps])
    images = {view: rng.integers(0, 256, (len(frame_steps), 12, 10, 3)).astype(np.uint8) for view in ("front", "a.b")}
    episode = Episode(
        episode_id=name,
        instruction="insert the peg into the blue socket",
        source="policy",
        seed=7,
        agent_pos=rng.normal(size=(steps + 1, 5)).astype(np.float32),
        estimate=rng.normal(size=(steps + 1, 3)).astype(np.float32),
        action=rng.uniform(-1, 1, (steps, 4)).astype(np.float32),
        reward=rng.normal(size=steps).astype(np.float32),
        stage=rng.integers(0, 4, steps + 1),
        oracle=rng.uniform(size=steps + 1).astype(np.float32),
        terminated=True,
        truncated=False,
        success=True,
        frame_steps=frame_steps,
        frames=images,
        base_action=rng.uniform(-1, 1, (steps + 1, 4)).astype(np.float32),
        base_phase=np.eye(8, dtype=np.float32)[np.arange(steps + 1) % 8],
        base_id="cloning-123",
        human_action=rng.uniform(-1, 1, (steps, 4)).astype(np.float32),
        intervention=rng.random(steps) < 0.5,
        gated=rng.random(steps) < 0.5,
        features=rng.normal(size=(steps + 1, 6)).astype(np.float32),
    )
    return dataclasses.replace(episode, **changes)


def assert_same(found, wanted):
    for field in dataclasses.fields(Episode):
        ours, theirs = getattr(found, field.name), getattr(wanted, field.name)
        if field.name == "frames":
            assert ours.keys() == theirs.keys()
            for view in theirs:
                np.testing.assert_array_equal(ours[view], theirs[view])
        elif isinstance(theirs, np.ndarray):
            np.testing.assert_array_equal(ours, theirs, err_msg=field.name)
            assert ours.dtype == theirs.dtype, field.name
        else:
            assert ours == theirs, field.name


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "store"


# ---- what goes in comes out ----


def test_an_episode_comes_back_as_it_was_also_for_another_process_s_reader(folder):
    bare = make_episode("bare", 3, base_action=None, base_phase=None, base_id=None, human_action=None,
                        intervention=None, gated=None, features=None, frames={}, frame_steps=np.zeros(0, np.int64),
                        terminated=False, truncated=True, success=False)  # fmt: skip
    with TransitionStore(folder, writable=True) as store:
        number = store.append_episode("arm", 0, make_episode())
        store.append_episode("arm", number, bare)
        reader = TransitionStore(folder)
        for which in (store, reader, TransitionStore(folder)):
            assert [entry.episode_id for entry in which.episodes()] == ["policy-7: Größe", "bare"]
            assert_same(which.read("policy-7: Größe"), make_episode())
            assert_same(which.read("bare"), bare)
    without = reader.read("policy-7: Größe", frames=False)
    assert without.frames == {} and len(without.frame_steps) == 0
    np.testing.assert_array_equal(without.features, make_episode().features)


def test_two_actors_episodes_interleave_record_by_record(folder):
    ours, theirs = make_episode("ours", 5), make_episode("theirs", 9)
    with TransitionStore(folder, writable=True, segment_bytes=2000) as store:
        queues = {name: list(enumerate(encode_episode(e))) for name, e in (("a", ours), ("b", theirs))}
        while any(queues.values()):
            for name, queue in queues.items():
                if queue:
                    number, (kind, payload) = queue.pop(0)
                    assert store.append(name, [(number, kind, payload)]) == number
    assert len(list(folder.glob("*.log"))) > 1  # and go over the boundary of a segment
    store = TransitionStore(folder)
    assert_same(store.read("ours"), ours)
    assert_same(store.read("theirs"), theirs)


def test_a_reader_follows_a_writer(folder):
    with TransitionStore(folder, writable=True) as writer:
        reader = TransitionStore(folder)
        records = [(i, *record) for i, record in enumerate(encode_episode(make_episode()))]
        writer.append("arm", records[:-1])
        assert reader.refresh() == 0 and reader.episodes() == []  # it has not ended
        writer.append("arm", records[-1:])
        assert reader.refresh() == 1
        assert_same(reader.read("policy-7: Größe"), make_episode())
        assert reader.refresh() == 0


def test_a_record_that_is_still_being_written_is_read_when_it_is_whole(folder):
    with TransitionStore(folder, writable=True) as writer:
        writer.append_episode("arm", 0, make_episode())
    [segment] = folder.glob("*.log")
    whole = segment.read_bytes()
    segment.write_bytes(whole[:-10])
    reader = TransitionStore(folder)
    assert reader.episodes() == []
    segment.write_bytes(whole)
    assert reader.refresh() == 1


# ---- once ----


def test_what_is_sent_twice_is_kept_once(folder):
    records = [(i, *record) for i, record in enumerate(encode_episode(make_episode()))]
    with TransitionStore(folder, writable=True) as store:
        assert store.append("arm", records[:5]) == 4
        assert store.append("arm", records[:5]) == 4
        assert store.append("arm", records[2:]) == len(records) - 1
        assert store.append_episode("arm", 0, make_episode()) == len(records)
        assert_same(store.read("policy-7: Größe"), make_episode())
    assert verify(folder).records == len(records)
    with TransitionStore(folder, writable=True) as store:
        assert store.append("arm", records) == len(records) - 1  # also after a restart
    assert verify(folder).records == len(records)


def test_a_gap_is_refused_unless_a_new_episode_begins(folder):
    records = [(i, *record) for i, record in enumerate(encode_episode(make_episode()))]
    with TransitionStore(folder, writable=True) as store:
        store.append("arm", records[:4])
        with pytest.raises(ValueError, match=r"actor arm, record 5: expected record 4"):
            store.append("arm", records[5:])
        second = [(i + 100, *record) for i, record in enumerate(encode_episode(make_episode("second")))]
        store.append("arm", second)
        assert [entry.episode_id for entry in store.episodes()] == ["second"]
    assert verify(folder).broken == ["policy-7: Größe"]


def test_an_episode_id_is_given_once(folder):
    with TransitionStore(folder, writable=True) as store:
        number = store.append_episode("arm", 0, make_episode())
        with pytest.raises(ValueError, match="is already in the store: give it another id"):
            store.append_episode("arm", number, make_episode())
        with pytest.raises(ValueError, match="is already in the store"):
            store.append_episode("another arm", 0, make_episode())


def test_an_abandoned_episode_is_never_handed_out(folder):
    records = encode_episode(make_episode())
    with TransitionStore(folder, writable=True) as store:
        store.append("arm", [(i, *record) for i, record in enumerate(records[:4])])
        store.append_episode("arm", 4, make_episode("second"))
        assert [entry.episode_id for entry in store.episodes()] == ["second"]
        assert store.index.abandoned == ["policy-7: Größe"]


# ---- what is not right is not written ----


def spoilt_records():
    good = encode_episode(make_episode())
    step = next(i for i, (kind, _) in enumerate(good) if kind == STEP)
    header = json.loads(good[0][1])
    nan = np.float32(np.nan).tobytes()

    def swap(index, payload, kind=None):
        return [*good[:index], (good[index][0] if kind is None else kind, payload), *good[index + 1 :]]

    def begin(**changes):  # alone: its steps would not fit it either
        return [(BEGIN, json.dumps({**header, **changes}).encode())]

    yield "no JSON", swap(0, b"\xff\xfe")
    yield "deep JSON", swap(0, b"[" * 100_000)
    yield "missing key", swap(0, b"{}")
    yield "another key", begin(surprise=1)
    yield "a field nobody knows", begin(widths={**header["widths"], "__class__": 3})
    yield "a huge width", begin(widths={**header["widths"], "agent_pos": 10**9})
    yield "a negative width", begin(widths={**header["widths"], "agent_pos": -1})
    yield "a width that is a text", begin(widths={**header["widths"], "agent_pos": "5"})
    yield "no action", begin(widths={k: v for k, v in header["widths"].items() if k != "action"})
    yield "two rewards a step", begin(widths={**header["widths"], "reward": 2})
    yield "no oracle where one is told", begin(widths={**header["widths"], "oracle": 0})
    yield "an unknown flag", begin(flags=["stage", "sudo"])
    yield "a flag that is a list", begin(flags=[["stage"]])
    yield "no stage", begin(flags=["intervention", "gated"])
    yield "an empty id", begin(episode_id="")
    yield "a seed that is a text", begin(seed="7")
    yield "a short step", swap(step, good[step][1][:-1])
    yield "a long step", swap(step, good[step][1] + b"\0")
    yield "NaN in a step", swap(step, good[step][1][:4] + nan + good[step][1][8:])
    yield "a step twice", [*good[: step + 1], good[step], *good[step + 1 :]]
    yield "a step left out", [*good[:step], *good[step + 1 :]]
    yield "frames that are none", swap(1, good[1][1][:-1])
    yield "a kind nobody knows", swap(step, good[step][1], kind=9)
    yield "an end with NaN", swap(len(good) - 1, good[-1][1][:8] + nan + good[-1][1][12:])
    yield "an end too short", swap(len(good) - 1, good[-1][1][:-4])
    yield "no beginning", good[1:]


@pytest.mark.parametrize(
    ("what", "records"), list(spoilt_records()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_spoilt_record_is_refused_with_one_line_and_nothing_is_written(folder, what, records):
    with TransitionStore(folder, writable=True) as store:
        with pytest.raises(ValueError, match="actor arm, record") as error:
            store.append("arm", [(i, *record) for i, record in enumerate(records)])
        assert "\n" not in str(error.value)
    assert verify(folder).records == 0


def test_an_action_outside_its_range_is_refused(folder):
    episode = make_episode(action=np.full((7, 4), 1.5, np.float32))
    with TransitionStore(folder, writable=True) as store, pytest.raises(ValueError, match=r"outside \[-1, 1\]"):
        store.append_episode("arm", 0, episode)


# ---- whose it is, and of what format ----


def test_a_second_writer_is_refused_and_readers_are_not(folder):
    with TransitionStore(folder, writable=True):
        with pytest.raises(ValueError, match="another process writes the store"):
            TransitionStore(folder, writable=True)
        TransitionStore(folder)
    TransitionStore(folder, writable=True).close()
    with pytest.raises(ValueError, match="opened for reading"):
        TransitionStore(folder).append("arm", [])


def test_a_newer_format_and_a_foreign_folder_are_refused_untouched(folder, tmp_path):
    TransitionStore(folder, writable=True).close()
    (folder / "store.json").write_text('{"format": 2}')
    with pytest.raises(ValueError, match="has format 2, this robo_reward knows 1: install a newer"):
        TransitionStore(folder, writable=True)
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "chapter1.tex").write_text("words")
    with pytest.raises(ValueError, match=r"holds chapter1\.tex and no transition store"):
        TransitionStore(other, writable=True)
    with pytest.raises(FileNotFoundError, match="no transition store"):
        TransitionStore(other)
    assert (other / "chapter1.tex").read_text() == "words"


def test_what_a_process_left_that_was_killed_while_it_made_the_store_is_no_foreign_file(folder):
    folder.mkdir()
    (folder / ".store.json.4711").write_text("{")
    TransitionStore(folder, writable=True).close()
    assert not verify(folder).damages


def test_a_log_segment_of_a_newer_format_is_refused(folder):
    with TransitionStore(folder, writable=True) as store:
        store.append_episode("arm", 0, make_episode())
    [segment] = folder.glob("*.log")
    data = bytearray(segment.read_bytes())
    data[8:16] = (2).to_bytes(4, "little") + (2 ^ 0xFFFFFFFF).to_bytes(4, "little")
    segment.write_bytes(data)
    with pytest.raises(ValueError, match="has format 2, this robo_reward reads up to 1"):
        TransitionStore(folder)


# ---- a process dies ----


class Killed(BaseException):
    """The process is gone; the machine, and what it has not written back yet, goes on."""


def write_until_killed(folder, disk, operation, patch):
    begin = disk.begin

    def begin_or_die(kind, path):
        if len(disk.operations) == operation:
            raise Killed
        begin(kind, path)

    patch.setattr(disk, "begin", begin_or_die)
    with TransitionStore(folder, writable=True, disk=disk) as store:
        store.append_episode("arm", 0, make_episode("first", 2))


@pytest.mark.parametrize("operation", range(13))
def test_what_a_killed_writer_left_is_durable_before_the_next_one_acknowledges_it(tmp_path, monkeypatch, operation):
    for luck in range(8):
        disk, folder = FaultyDisk(tmp_path / str(luck)), tmp_path / str(luck) / "store"
        with monkeypatch.context() as patch, pytest.raises(Killed):
            write_until_killed(folder, disk, operation, patch)
        with TransitionStore(folder, writable=True, disk=disk) as store:
            acknowledged = [entry.episode_id for entry in store.episodes()]
            store.append_episode("leg", 0, make_episode("second", 2))
        disk.lose_power(np.random.default_rng(luck))
        assert [entry.episode_id for entry in TransitionStore(folder).episodes()] == [*acknowledged, "second"]
    assert acknowledged == ["first"] * (operation == 12), "only that at its very last operation, a sync, was written"


# ---- damage ----


def test_damage_costs_its_episode_and_no_other_and_is_repaired(folder):
    names = ["first", "second", "third"]
    with TransitionStore(folder, writable=True) as store:
        number = 0
        for name in names:
            number = store.append_episode("arm", number, make_episode(name))
        middle = store.index.episodes["second"].start.offset
    [segment] = folder.glob("*.log")
    data = bytearray(segment.read_bytes())
    data[middle + 1500] ^= 1
    segment.write_bytes(data)
    assert list(verify(folder).episodes) == ["first", "third"] and len(verify(folder).damages) == 1
    store = TransitionStore(folder)
    assert [entry.episode_id for entry in store.episodes()] == ["first", "third"]
    aside = repair(folder)
    assert (aside / "000001.log").read_bytes() == bytes(data)  # kept for who wants to look at it
    assert verify(folder).damages == [] and repair(folder) is None
    with TransitionStore(folder, writable=True) as store:
        assert [entry.episode_id for entry in store.episodes()] == ["first", "third"]
        assert_same(store.read("third"), make_episode("third"))
        store.append_episode("arm", number, make_episode("fourth"))
        assert len(store.episodes()) == 3


@pytest.mark.parametrize("opens", [
    lambda folder: TransitionStore(folder, writable=True), TransitionStore,
    lambda folder: TransitionStore(find_store(folder)), lambda folder: TransitionStore(find_store(folder.parent)),
], ids=["write", "read", "find", "find in run"])  # fmt: skip
def test_a_repair_that_the_power_cut_between_its_renames_is_ended(folder, monkeypatch, opens):
    with TransitionStore(folder, writable=True) as store:
        number = store.append_episode("arm", 0, make_episode("first"))
        store.append_episode("arm", number, make_episode("second"))
        last = store.index.episodes["second"].start.offset
    [segment] = folder.glob("*.log")
    data = bytearray(segment.read_bytes())
    data[last + 1500] ^= 1
    segment.write_bytes(data)
    rename = Disk.rename

    def power_goes_at_the_second(disk, source, target):
        if target == folder:
            raise OSError("the power went")
        rename(disk, source, target)

    monkeypatch.setattr(Disk, "rename", power_goes_at_the_second)
    with pytest.raises(OSError, match="the power went"):
        repair(folder)
    assert not folder.exists()
    monkeypatch.undo()
    with opens(folder) as store:
        assert [entry.episode_id for entry in store.episodes()] == ["first"]
    assert repair(folder) is None


def test_damage_that_comes_while_the_store_is_open_is_noticed(folder):
    with TransitionStore(folder, writable=True) as store:
        store.append_episode("arm", 0, make_episode())
        [segment] = folder.glob("*.log")
        data = bytearray(segment.read_bytes())
        data[900] ^= 64
        segment.write_bytes(data)
        with pytest.raises(ValueError, match="is damaged: robo-reward doctor store="):
            store.read("policy-7: Größe")
