"""What the training process, the server and the workers say to each other, and how."""

from __future__ import annotations

import pickle
import socket
from collections.abc import Sequence
from typing import Any, NamedTuple

from datamodules.loader import Pick

_LENGTH = 8  # bytes before each message that say how long it is
_FILES = 4  # a message brings at most so many open files along


class Limits(NamedTuple):
    """What decoding may take."""

    workers: int
    """At once."""
    seconds: float
    """Of a file."""
    memory: int
    """Of a worker, bytes beyond what it begins with."""


Item = tuple[int, int, str, tuple[int, int] | None]
"""One file of a batch: its slot there, its position in the source, its path from the root, and where it is kept
(offset and size in bytes). A plain tuple, since pickling one of a class takes many times as long."""


class Room(NamedTuple):
    """Where the rows of one modality begin in the shared memory of a batch."""

    name: str
    size: int
    """Of the rows of an item, bytes."""
    offset: int


class Job(NamedTuple):
    """Files to decode; open files come along: the batch and, if files are kept, the data and the index of that."""

    decoder: bytes
    """Pickled."""
    module: str
    """Which defines it."""
    root: str
    pick: Pick
    rows: int
    """Of each item."""
    rooms: tuple[Room, ...]
    items: Sequence[Item]
    share: int
    """How many of them a worker gets at once."""
    limits: Limits
    keep: int
    """Bytes that the file of what is kept may reach; 0: nothing is kept."""
    seal: bool = False
    """Do nothing but bring to the disk what is kept."""


Kept = tuple[int, int, int]
"""Where a decoded file is kept: its position in the source, offset and size."""


class Done(NamedTuple):
    """The answer to a job."""

    number: int
    causes: dict[int, str]
    """Of the positions of bad files."""
    kept: list[Kept]
    unkept: str = ""
    """Why nothing more can be kept, if so."""


class Bad(NamedTuple):
    """What a worker says of a bad file at once, since it may not live to finish its job."""

    position: int
    cause: str


def send(to: socket.socket, message: Any, files: Sequence[int] = ()) -> None:
    """Send a message, with open files, as a whole."""
    data = packed(message)
    sent = socket.send_fds(to, [data], list(files)) if files else 0
    if sent < len(data):
        to.sendall(memoryview(data)[sent:])


def packed(message: Any) -> bytes:
    """Turn a message into bytes, its length first."""
    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return len(data).to_bytes(_LENGTH, "little") + data


def receive(source: socket.socket) -> tuple[Any, list[int]]:
    """Wait for a message and the open files that came along.

    Raises:
        EOFError: the other side is gone.

    """
    try:
        head, files, _, _ = socket.recv_fds(source, _LENGTH, _FILES)
        head += _exactly(source, _LENGTH - len(head)) if head else b""
    except ConnectionResetError:
        head = b""
    if not head:
        raise EOFError
    return pickle.loads(_exactly(source, int.from_bytes(head, "little"))), files


class Inbox:
    """Takes messages without files from a socket, with as few calls of the system as there can be."""

    def __init__(self) -> None:
        self._data = bytearray()

    def receive(self, source: socket.socket) -> Any:
        """Wait for the next message.

        Raises:
            EOFError: the other side is gone.

        """
        while len(self._data) < _LENGTH or len(self._data) < self._end():
            try:
                piece = source.recv(1 << 16)
            except ConnectionResetError:
                piece = b""
            if not piece:
                raise EOFError
            self._data += piece
        end = self._end()
        message = pickle.loads(memoryview(self._data)[_LENGTH:end].tobytes())
        del self._data[:end]
        return message

    def _end(self) -> int:
        return _LENGTH + int.from_bytes(self._data[:_LENGTH], "little")


def _exactly(source: socket.socket, count: int) -> bytes:
    pieces = []
    while count:
        try:
            piece = source.recv(min(count, 1 << 20))
        except ConnectionResetError:
            piece = b""
        if not piece:
            raise EOFError
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)
