"""Records in shared memory: whole ones or the ones before."""

from __future__ import annotations

import os

import numpy as np
import pytest

from robo_reward.hardware.bridge import ACTION, NOBODY, STATUS
from robo_reward.hardware.slots import Slot, share


def test_a_slot_never_shows_half_a_record():
    descriptor = os.memfd_create("test")
    (writer,), (reader,) = share(descriptor, [ACTION]), share(descriptor, [ACTION])
    assert reader.read()[0] == 0
    assert writer.write(time_s=1.0, size=2, action=np.full(16, 7.0)) == 1
    number, record = reader.read()
    assert (number, record["time_s"], record["size"], record["action"][15]) == (1, 1.0, 2, 7.0)
    writer.write(time_s=2.0, action=np.full(16, 8.0))
    for byte in range(12, Slot.size(ACTION)):  # a writer that was killed in the middle
        torn = os.pread(descriptor, 1, byte)
        os.pwrite(descriptor, bytes([torn[0] ^ 0xFF]), byte)
        assert reader.read()[0] == 1 and reader.read()[1]["action"][0] == 7.0
        os.pwrite(descriptor, torn, byte)
    assert reader.read()[0] == 2 and reader.read()[1]["action"][0] == 8.0
    with pytest.raises(TypeError, match="no field speed"):
        writer.write(speed=1)
    os.close(descriptor)
    assert NOBODY == 0 and STATUS.names is not None
