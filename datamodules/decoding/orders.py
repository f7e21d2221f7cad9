"""From positions to rows in shared memory: the orders of one pass over files, cut into jobs for the workers."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, final

import numpy as np
import torch
from torch import Tensor

from datamodules.decoder import Decoder, Parts
from datamodules.decoding.buffers import Buffers
from datamodules.decoding.client import CLIENT, Ticket
from datamodules.decoding.messages import Item, Job, Limits, Room
from datamodules.keeping.shelf import Shelf
from datamodules.loader import Pick

_AT_MOST = 16  # files of a job: so few that a batch is shared out, so many that messages cost nothing beside decoding
_BYTES = 8 << 20  # of the rows of a job, which a worker holds until its end
_ALIGN = 64  # bytes: where the rows of a modality begin


def share(files: int, workers: int, size: int) -> int:
    """Say how many files, each with so many bytes of rows, a worker gets at once of those that are in their hands."""
    return max(1, min(_AT_MOST, _BYTES // size, files // workers))


class Order(NamedTuple):
    """A batch in the workers' hands."""

    positions: Tensor
    into: Parts
    ticket: Ticket | None
    """None if all is there."""


@final
class Desk:
    """Hands the files of one pass to the workers.

    Args:
        root: the folder that the names begin in.
        names: of all files.
        decoder: what makes rows of them.
        pick: which part of each.
        rows: of each.
        limits: what decoding may take.
        buffers: by size, shared by all passes over these files.
        shelf: of what is kept, if anything is.

    """

    def __init__(
        self,
        root: Path,
        names: Sequence[str],
        decoder: Decoder,
        pick: Pick,
        rows: int,
        limits: Limits,
        buffers: dict[int, Buffers],
        shelf: Shelf | None,
    ) -> None:
        self.names, self.decoder, self.rows, self.buffers, self.shelf = names, decoder, rows, buffers, shelf
        blank = decoder.blank(1, pick)
        self._row = {name: (part.dtype, part.shape[1:]) for name, part in blank.items()}
        self._bytes = max(1, rows * sum(part.nbytes for part in blank.values()))
        pickled, module = pickle.dumps(decoder), type(decoder).__module__
        there = os.path.abspath(root)  # noqa: PTH100  (links stay links; the server works in a folder of its own)
        self._job = Job(pickled, module, there, pick, rows, (), (), 1, limits, 0)

    def order(self, positions: Tensor, skipped: Callable[[int], bool]) -> Order:
        """Give the workers what can be decoded of a batch; what is all kept is there at once."""
        into, rooms, base, file = self._memory(len(positions))
        uniform = self.shelf if self.decoder.picture is not None else None
        if uniform is not None and uniform.gather(positions.numpy(), into["rgb"]):
            return Order(positions, into, None)
        items = [item for item in self._items(positions) if not skipped(item[1])]
        workers = self._job.limits.workers
        size = share(len(items) * (self.decoder.ahead + 1), workers, self._bytes) if self.decoder.shared_out else 1
        job, shelf = self._job._replace(rooms=rooms), self.shelf
        files = [file] if shelf is None else [file, *shelf.files]
        job = job if shelf is None else job._replace(keep=shelf.limit)
        job = job._replace(items=items, share=size)
        return Order(positions, into, CLIENT.submit(job, (base, shelf), files) if items else None)

    def collect(self, order: Order) -> dict[int, str]:
        """Wait for an order; return the positions of bad files, each with its cause."""
        if order.ticket is None:
            return {}
        done = CLIENT.wait(order.ticket)
        if self.shelf is not None:
            self.shelf.note(done.kept)
            if done.unkept:
                self.shelf.give_up(done.unkept)
        return done.causes

    def again(self, position: int) -> Order:
        """Order one item by itself."""
        return self.order(torch.tensor([position]), lambda _: False)

    def cancel(self, orders: Sequence[Order]) -> None:
        """Drop orders that nobody waits for any more."""
        CLIENT.cancel([order.ticket for order in orders if order.ticket is not None])

    def seal(self) -> None:
        """Let a worker bring to the disk what was kept, without waiting for it."""
        if self.shelf is not None and self.shelf.fresh and len(self.shelf.files) > 1 and CLIENT.running:
            self.shelf.fresh = False
            CLIENT.submit(self._job._replace(seal=True), (self.shelf,), [self.shelf.files[0], *self.shelf.files])

    def _items(self, positions: Tensor) -> list[Item]:
        numbers = positions.tolist()
        if self.shelf is None:
            return [(slot, position, self.names[position], None) for slot, position in enumerate(numbers)]
        offsets, sizes = (table[positions.numpy()].tolist() for table in (self.shelf.offsets, self.shelf.sizes))
        return [
            (slot, position, self.names[position], None if offset < 0 else (offset, size))
            for slot, (position, offset, size) in enumerate(zip(numbers, offsets, sizes, strict=True))
        ]

    def _memory(self, count: int) -> tuple[Parts, tuple[Room, ...], object, int]:
        """Take shared memory for the rows of so many items."""
        rooms, end = [], 0
        for name, (kind, shape) in self._row.items():
            size = self.rows * kind.itemsize * int(np.prod(shape))
            rooms.append(Room(name, size, end))
            end += -(-count * size // _ALIGN) * _ALIGN
        buffers = self.buffers.setdefault(end, Buffers(end))
        buffer = buffers.take()
        base = buffers.lend(buffer)
        into: Parts = {}
        for room in rooms:
            kind, shape = self._row[room.name]
            rows = base[room.offset : room.offset + count * room.size].view(kind)
            into[room.name] = rows.reshape(count * self.rows, *shape)
        return into, tuple(rooms), base, buffer.file
