"""The log under the store: read from any position on, a batch as a whole or not at all."""

import pytest

from robo_reward.data.episode_records import BEGIN, END, FRAMES, STEP
from robo_reward.data.record_log import Position, Record, RecordLog, read_batches, read_records


def records_of(folder, start=None):
    return [record for batch in read_batches(folder, start) if isinstance(batch, list) for _, _, record in batch]


def test_the_log_reads_from_any_position_on(tmp_path):
    log = RecordLog(tmp_path, segment_bytes=300)
    records = [Record(STEP, "a", i, bytes([i]) * 90) for i in range(12)]
    places = [place for record in records for place in log.append([record])]
    log.close()
    assert records_of(tmp_path) == records
    for index, (start, end) in enumerate(places):
        assert records_of(tmp_path, start) == records[index:]
        assert list(read_records(tmp_path, places[0][0], end)) == records[: index + 1]
    assert places[0][0] == Position(1, 16)


@pytest.mark.parametrize("hurt", [0, 1, 2])
def test_a_batch_is_read_as_a_whole_or_not_at_all(tmp_path, hurt):
    """The payloads hold the magic number of a record, which must not confuse a reader that looks for the next one."""
    log = RecordLog(tmp_path)
    batches = [[Record(kind, f"b{i}", n, b"\xf5\x52\xc3\x9e" * 50) for n, kind in enumerate((BEGIN, FRAMES, END))]
               for i in range(3)]  # fmt: skip
    places = [log.append(batch) for batch in batches]
    log.close()
    [segment] = tmp_path.glob("*.log")
    data = bytearray(segment.read_bytes())
    data[places[1][hurt][0].offset + 40] ^= 1
    segment.write_bytes(data)
    assert records_of(tmp_path) == [*batches[0], *batches[2]]
