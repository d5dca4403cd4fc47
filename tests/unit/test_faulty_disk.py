"""The faulty disk keeps what was synced, loses some of what was not, and fails where it was told to."""

from __future__ import annotations

import errno

import numpy as np
import pytest

from robo_reward.data.disk import replace_file
from robo_reward.testing.faulty_disk import SECTOR, FaultyDisk, PowerLost

LUCKS = range(60)


def after_loss(folder, luck, do, **options):
    """What the folder holds when the power went right after `do(disk, folder)`: relative name -> bytes."""
    folder = folder / str(luck)
    disk = FaultyDisk(folder, **options)
    do(disk, folder)
    disk.lose_power(np.random.default_rng(luck))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def half_synced(disk, folder):
    file = disk.append(folder / "log")
    file.write(b"a" * 700)
    file.sync()
    disk.sync_folder(folder)
    file.write(b"b" * 2000)
    file.close()


def test_synced_bytes_always_survive_and_others_in_every_way(tmp_path):
    seen = [after_loss(tmp_path, luck, half_synced)["log"] for luck in LUCKS]
    assert all(content.startswith(b"a" * 700) and len(content) <= 2700 for content in seen)
    tails = [content[700:] for content in seen]
    assert b"" in tails and b"b" * 2000 in tails
    assert any(0 < len(tail) < 2000 and set(tail) == {ord("b")} for tail in tails), "none was cut short"
    assert any(b"\0" * 100 in tail for tail in tails), "no sector was lost as zeros"
    assert any(len(set(tail)) > 10 for tail in tails), "no sector was lost as garbage"
    assert any(tail.endswith(b"b") and set(tail) != {ord("b")} for tail in tails), "always lost from the end on"


def test_a_file_that_another_process_left_unsynced_can_be_synced(tmp_path):
    def resume(disk, folder):
        half_synced(disk, folder)
        disk.sync_file(folder / "log")

    assert {after_loss(tmp_path, luck, resume)["log"] for luck in LUCKS} == {b"a" * 700 + b"b" * 2000}
    with pytest.raises(FileNotFoundError):
        FaultyDisk(tmp_path).sync_file(tmp_path / "none")


def test_a_torn_sector_is_torn_as_a_whole(tmp_path):
    for luck in LUCKS:
        tail = after_loss(tmp_path, luck, half_synced)["log"][700:]
        for start in range(2 * SECTOR - 700, len(tail), SECTOR):
            sector = tail[start : start + SECTOR]
            assert sector.count(b"b") in (0, len(sector)) or len(set(sector)) > 10


def test_without_syncing_the_folder_a_new_name_may_be_lost(tmp_path):
    seen = [after_loss(tmp_path, luck, lambda disk, folder: disk.write(folder / "a", b"new")) for luck in LUCKS]
    assert {} in seen and {"a": b"new"} in seen
    assert all(files in ({}, {"a": b"new"}) for files in seen)  # the bytes were synced


def prepared(folder, luck):
    (folder / str(luck)).mkdir()
    (folder / str(luck) / "a").write_bytes(b"old")


@pytest.mark.parametrize("synced", [True, False])
def test_a_rename_without_syncing_the_folder_sometimes_reverts(tmp_path, synced):
    def swap(disk, folder):
        disk.write(folder / "aside", b"new")
        disk.rename(folder / "aside", folder / "a")
        if synced:
            disk.sync_folder(folder)

    seen = []
    for luck in LUCKS:
        prepared(tmp_path, luck)
        seen.append(after_loss(tmp_path, luck, swap))
    if synced:
        assert all(files == {"a": b"new"} for files in seen)
    else:
        assert {"a": b"old"} in seen and {"a": b"new"} in seen
        assert all(files["a"] in (b"old", b"new") for files in seen)


def test_removals_and_new_folders_are_names_too(tmp_path):
    def change(disk, folder):
        disk.remove(folder / "a")
        disk.make_folder(folder / "inner" / "most")
        disk.write(folder / "inner" / "most" / "b", b"b")
        disk.sync_folder(folder / "inner" / "most")
        disk.sync_folder(folder / "inner")

    seen = []
    for luck in LUCKS:
        prepared(tmp_path, luck)
        seen.append(tuple(sorted(after_loss(tmp_path, luck, change))))
    assert set(seen) == {(), ("a",), ("inner/most/b",), ("a", "inner/most/b")}


@pytest.mark.parametrize("ignores_sync", [False, True])
def test_a_disk_that_ignores_syncs_loses_what_was_synced(tmp_path, ignores_sync):
    seen = []
    for luck in LUCKS:
        prepared(tmp_path, luck)
        swap = after_loss(tmp_path, luck, lambda d, f: replace_file(f / "a", b"n" * 9, d), ignores_sync=ignores_sync)
        seen.append(swap.get("a"))
    assert (set(seen) == {b"n" * 9}) != ignores_sync


def test_a_sync_that_failed_is_not_made_good_by_the_next(tmp_path):
    def retry(disk, folder):
        file = disk.append(folder / "a")
        file.write(b"x" * 100)
        disk.sync_folder(folder)
        with pytest.raises(OSError):
            file.sync()
        file.sync()
        file.close()

    assert any(after_loss(tmp_path, luck, retry, fail_at=4)["a"] != b"x" * 100 for luck in LUCKS)


def steps(disk, folder):
    disk.make_folder(folder / "inner")
    disk.write(folder / "inner" / "a", b"0123456789")
    disk.rename(folder / "inner" / "a", folder / "inner" / "b")
    disk.sync_folder(folder / "inner")


def test_every_writing_operation_is_counted_and_can_fail(tmp_path):
    whole = FaultyDisk(tmp_path / "whole")
    steps(whole, whole.folder)
    assert [operation.split()[0] for operation in whole.operations] == [
        "create", "create", "write", "sync", "rename", "sync_folder",
    ]  # fmt: skip
    for number in range(1, 7):
        disk = FaultyDisk(tmp_path / str(number), fail_at=number, error=errno.EIO, short_write=True)
        with pytest.raises(OSError) as caught:
            steps(disk, disk.folder)
        assert caught.value.errno == errno.EIO and len(disk.operations) == number
        if number == 3:
            assert (disk.folder / "inner" / "a").read_bytes() == b"01234"
        assert (disk.folder / "inner" / "b").exists() == (number == 6)
        disk.write(disk.folder / "again", b"works")


def test_a_full_disk_stays_full(tmp_path):
    disk = FaultyDisk(tmp_path, fail_at=1, lasting=True)
    for _ in range(3):
        with pytest.raises(OSError) as caught:
            disk.write(tmp_path / "a", b"")
        assert caught.value.errno == errno.ENOSPC
    disk.remove(tmp_path / "a")  # but space can be made


def test_a_machine_that_is_off_does_nothing_more(tmp_path):
    disk = FaultyDisk(tmp_path, stop_at=4)
    with pytest.raises(PowerLost):
        replace_file(tmp_path / "a", b"new", disk)  # its cleaning up does not run either
    assert [path.name.startswith(".a") for path in tmp_path.iterdir()] == [True]
    disk.lose_power(np.random.default_rng(0))
    for use in (lambda: disk.write(tmp_path / "b", b""), lambda: disk.sync_folder(tmp_path)):
        with pytest.raises(PowerLost):
            use()
    with pytest.raises(RuntimeError, match="new FaultyDisk"):
        disk.lose_power(np.random.default_rng(0))


def test_what_was_written_past_the_disk_is_not_safe(tmp_path):
    def past(disk, folder):
        disk.write(folder / "a", b"a")
        (folder / "b").write_bytes(b"b" * 5000)
        (folder / "old").unlink()
        disk.rename(folder / "b", folder / "c")

    seen = []
    for luck in LUCKS:
        (tmp_path / str(luck)).mkdir()
        (tmp_path / str(luck) / "old").write_bytes(b"old")
        seen.append(after_loss(tmp_path, luck, past))
    assert {files.get("c", b"") == b"b" * 5000 for files in seen} == {True, False}
    assert {"old" in files for files in seen} == {True, False}


def test_other_folders_are_refused(tmp_path):
    disk = FaultyDisk(tmp_path / "mine")
    with pytest.raises(ValueError, match="outside"):
        disk.write(tmp_path / "a", b"")
    disk.make_folder(tmp_path / "mine" / "inner")
    disk.write(tmp_path / "mine" / "a", b"")
    with pytest.raises(ValueError, match="one folder"):
        disk.rename(tmp_path / "mine" / "a", tmp_path / "mine" / "inner" / "a")
