"""A worker: it decodes the files of one job after the other and writes their rows into the memory of a batch."""

from __future__ import annotations

import mmap
import os
import pickle
import resource
import socket
import struct
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, final

from numpy.typing import NDArray

from datamodules.bad_files import InPart, cause_of
from datamodules.decoder import Decoder
from datamodules.decoding.messages import Bad, Done, Job, Kept, receive, send
from datamodules.keeping.records import Records

OUT_OF_MEMORY = 78
"""How a worker exits that a file would have taken beyond its limit of memory."""
_KNOWN = 16  # decoders whose state a worker keeps, such as what it knows of full caches
_STATUS = struct.Struct("=qd")


class Status:
    """Shared memory in which a worker says which of its items it is at, and since when (of the monotonic clock)."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _STATUS.size)

    def write(self, item: int) -> None:
        """Say that an item begins."""
        self._memory[:] = _STATUS.pack(item, time.monotonic())

    def read(self) -> tuple[int, float]:
        """Tell the item that has begun, and when."""
        item, since = _STATUS.unpack(self._memory[:])
        return item, since


@final
class Worker:
    """What one process does, until the other side of the socket is gone."""

    def __init__(self, server: socket.socket, status: Status) -> None:
        self.server, self.status = server, status
        self._decoders: OrderedDict[bytes, Decoder] = OrderedDict()
        self._born = _address_space()

    def run(self) -> None:
        """Work until the server is gone."""
        with suppress(EOFError, BrokenPipeError):
            while True:
                job, files = receive(self.server)
                try:
                    send(self.server, self._answer(job, files))
                finally:
                    for file in files:
                        os.close(file)

    def _answer(self, job: Job, files: Sequence[int]) -> Done:
        records = Records(files[1], files[2] if len(files) > 2 else None, job.keep) if len(files) > 1 else None
        if job.seal and records is not None:
            records.seal()
            return Done(0, {}, [])
        if self._born:
            _limit_memory(self._born + job.limits.memory)
        kept: list[Kept] = []
        for number, (slot, position, name, place) in enumerate(job.items):
            self.status.write(number)
            try:
                decoder, path = self._decoder(job.decoder), f"{job.root}/{name}"
                rows, keep = decoder.blank(job.rows, job.pick), Keeper(path, place, records)
                remark = decoder.load(Path(path), position, job.pick, rows, keep)
            except Exception as error:  # the decoders raise many kinds at a broken file
                if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
                    os._exit(OUT_OF_MEMORY)  # a fresh worker tells whether it was this file or what came before
                send(self.server, Bad(position, cause_of(error)))
                continue
            for room in job.rooms:
                _write(files[0], rows[room.name].data, room.offset + slot * room.size)
            if remark is not None:
                send(self.server, Bad(position, InPart(remark)))
            kept += [(position, *found) for found in keep.done]
        return Done(0, {}, kept, "" if records is None else records.failure)

    def _decoder(self, pickled: bytes) -> Decoder:
        if pickled not in self._decoders:
            self._decoders[pickled] = pickle.loads(pickled)
        self._decoders.move_to_end(pickled)
        while len(self._decoders) > _KNOWN:
            self._decoders.popitem(last=False)
        return self._decoders[pickled]


@final
class Keeper:
    """What is kept of one file: found there, or put there once it is made."""

    def __init__(self, path: str, place: tuple[int, int] | None, records: Records | None) -> None:
        self.path, self.place, self.records = path, place, records
        self.done: list[tuple[int, int]] = []
        """Offset and size of what was put there."""

    def __call__(self, make: Callable[[], NDArray[Any]], worth: Callable[[], bool] | None = None) -> NDArray[Any]:
        if self.records is None:
            return make()
        if self.place is not None and (found := self.records.read(*self.place)) is not None:
            return found
        key = self.records.key(self.path)  # of the file as it was before it was decoded
        whole = make()
        if worth is not None and not worth():
            return whole
        if (offset := self.records.append(whole, key)) is not None:
            self.done.append((offset, whole.nbytes))
        return whole


def _write(file: int, data: memoryview, offset: int) -> None:
    data = data.cast("B")
    while len(data):
        count = os.pwrite(file, data, offset)
        data, offset = data[count:], offset + count


def _address_space() -> int:
    """Count the bytes of addresses that this process takes, 0 where that is not told."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * mmap.PAGESIZE
    except OSError:
        return 0


def _limit_memory(most: int) -> None:
    """Let allocations beyond fail; what the kernel does not support is no limit."""
    with suppress(OSError, ValueError):
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
