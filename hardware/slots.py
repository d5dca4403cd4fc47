"""Records in memory that two processes share: one writes, the other reads, nobody waits.

A record carries a sequence number and a checksum, so a reader never sees half of one, whatever becomes of the writer.
The memory has no name: only a process that was given its descriptor can reach it.
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib

import numpy as np

_HEAD = struct.Struct("<QI")


class Slot:
    """One record of a fixed dtype at an offset of the shared memory."""

    def __init__(self, memory: mmap.mmap, offset: int, dtype: np.dtype) -> None:
        self._memory, self._offset, self._dtype = memory, offset, dtype
        self._number, self._latest = 0, np.zeros((), dtype)

    @staticmethod
    def size(dtype: np.dtype) -> int:
        """Bytes that a slot of this dtype occupies."""
        return _HEAD.size + dtype.itemsize

    def write(self, **values: object) -> int:
        """Write a record whose fields not named are zero; returns its number, from 1. One process only."""
        record = np.zeros((), self._dtype)
        for name, value in values.items():
            if name in (self._dtype.names or ()):
                record[name] = value
            else:
                raise TypeError(f"no field {name} in this slot")
        self._number += 1
        data = record.tobytes()
        head = _HEAD.pack(self._number, zlib.crc32(data, self._number & 0xFFFFFFFF))
        self._memory[self._offset : self._offset + len(head) + len(data)] = head + data
        return self._number

    def read(self) -> tuple[int, np.ndarray]:
        """The newest whole record and its number; number 0 and zeros when there is none yet."""
        for _ in range(10):  # a record that is just being written is whole a moment later
            raw = self._memory[self._offset : self._offset + Slot.size(self._dtype)]
            number, checksum = _HEAD.unpack_from(raw)
            if number == self._number:
                break
            if zlib.crc32(raw[_HEAD.size :], number & 0xFFFFFFFF) == checksum:
                self._number, self._latest = number, np.frombuffer(raw, self._dtype, 1, _HEAD.size)[0]
                break
        return self._number, self._latest


def share(descriptor: int, dtypes: list[np.dtype]) -> list[Slot]:
    """Slots one behind the other in the memory behind a descriptor, which is enlarged to hold them."""
    sizes = [-(-Slot.size(dtype) // 64) * 64 for dtype in dtypes]
    os.ftruncate(descriptor, sum(sizes))
    memory = mmap.mmap(descriptor, sum(sizes))
    return [Slot(memory, sum(sizes[:index]), dtype) for index, dtype in enumerate(dtypes)]
