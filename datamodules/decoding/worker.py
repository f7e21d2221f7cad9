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
from datamodules.decoder import Decoder, Parts
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
        keeper = Keeper(records)
        try:
            decoder = self._decoder(job.decoder)
            whole = decoder.blank(job.rows * len(job.items), job.pick)
        except Exception as error:  # there is no decoder, or no room for its rows
            for _, position, *_ in job.items:
                self._tell(position, error)
            return Done(0, {}, [])
        self._decode(job, decoder, whole, keeper)
        self.status.write(len(job.items))  # what comes now is no file's: where it fails or stalls, each is tried alone
        _write_rows(files[0], job, whole)
        return Done(0, {}, keeper.put(), "" if records is None else records.failure)

    def _decode(self, job: Job, decoder: Decoder, whole: Parts, keeper: Keeper) -> None:
        """Decode all files of a job into its rows."""
        for number, (_, position, name, place) in enumerate(job.items):
            self.status.write(number)
            rows = {key: part[number * job.rows : (number + 1) * job.rows] for key, part in whole.items()}
            path = keeper.turn_to(f"{job.root}/{name}", position, place)
            try:
                remark = decoder.load(path, position, job.pick, rows, keeper)
            except Exception as error:  # the decoders raise many kinds at a broken file
                self._tell(position, error)
            else:
                if remark is not None:
                    send(self.server, Bad(position, InPart(remark)))

    def _tell(self, position: int, error: Exception) -> None:
        """Say that a file is bad; or end where memory is short: a fresh worker tells whether the file took it."""
        if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
            os._exit(OUT_OF_MEMORY)
        send(self.server, Bad(position, cause_of(error)))

    def _decoder(self, pickled: bytes) -> Decoder:
        if pickled not in self._decoders:
            self._decoders[pickled] = pickle.loads(pickled)
        self._decoders.move_to_end(pickled)
        while len(self._decoders) > _KNOWN:
            self._decoders.popitem(last=False)
        return self._decoders[pickled]


@final
class Keeper:
    """What is kept of the files of a job: found there, or put there once all of them are made."""

    def __init__(self, records: Records | None) -> None:
        self.records = records
        self._path, self._position = "", 0
        self._place: tuple[int, int] | None = None
        self._made: list[tuple[int, NDArray[Any], bytes]] = []

    def turn_to(self, path: str, position: int, place: tuple[int, int] | None) -> Path:
        """Go on with another file, which is kept at this offset and of this size, if it is."""
        self._path, self._position, self._place = path, position, place
        return Path(path)

    def __call__(self, make: Callable[[], NDArray[Any]], worth: Callable[[], bool] | None = None) -> NDArray[Any]:
        if self.records is None:
            return make()
        if self._place is not None and (found := self.records.read(*self._place)) is not None:
            return found
        key = self.records.key(self._path)  # of the file as it was before it was decoded
        whole = make()
        if worth is None or worth():
            self._made.append((self._position, whole, key))
        return whole

    def put(self) -> list[Kept]:
        """Keep what was made and is not kept yet; tell where, of what there was room for."""
        if self.records is None or not self._made:
            return []
        positions, arrays, keys = zip(*self._made, strict=True)
        offsets = self.records.append(arrays, keys)
        return [(*found, array.nbytes) for *found, array in zip(positions, offsets, arrays, strict=False)]


def _write_rows(file: int, job: Job, whole: Parts) -> None:
    """Write the rows of all items into a batch; where the slots of some follow one another, by one call.

    Also those of bad files, which somebody else's rows will take the place of.
    """
    slots = [item[0] for item in job.items]
    begin = 0
    for end in range(1, len(slots) + 1):
        if end < len(slots) and slots[end] == slots[end - 1] + 1:
            continue
        for room in job.rooms:
            rows = whole[room.name][begin * job.rows : end * job.rows]
            _write(file, rows.data, room.offset + slots[begin] * room.size)
        begin = end


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
