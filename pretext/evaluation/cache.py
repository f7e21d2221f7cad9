"""Features on disk: a folder of .npy files, named by a hash of all that they depend on, so a stale one is never found.

Its marker is written last and at once, so a folder that a killed process left half-written is never read.
"""

from __future__ import annotations

import inspect
import json
import os
import re
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor, nn

from pretext.core.files import write_whole

MARKER = "complete.json"
Columns = dict[str, Tensor]
"""Named columns of equally many rows, (N, ...)."""
PLAIN = (int, float, str, tuple, list, dict, torch.dtype, type(None))  # not sets: their order changes


def cached(folder: Path, chunks: Iterable[Columns]) -> Columns:
    """Return `folder`'s columns, memory-mapped; write them from `chunks` of rows first if they are not all there.

    Of several processes one writes while the others wait; if it is killed, the next begins anew.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not (folder / MARKER).exists():
            rmtree(folder, ignore_errors=True)
            try:
                write_columns(folder, chunks)
            except BaseException:
                rmtree(folder, ignore_errors=True)
                raise
    return read_columns(folder)


def read_columns(folder: Path) -> Columns:
    """Map the columns of a folder into memory."""
    files = json.loads((folder / MARKER).read_text())
    return {name: torch.from_numpy(np.load(folder / file, mmap_mode="c")) for name, file in files.items()}  # private


def digest(network: nn.Module, *facts: object) -> str:
    """Hash facts, and of a network each module's code and plain settings and each tensor; the same in any process."""
    key = blake2b(digest_size=16)

    def add(*parts: object) -> None:
        key.update(re.sub(r" at 0x\w+", "", f"{parts}\n").encode())  # addresses differ from process to process

    add(*facts)
    common = vars(nn.Module()).keys()  # hooks, the training flag, ...
    for name, module in network.named_modules():
        plain = {k: v for k, v in vars(module).items() if k not in common and isinstance(v, PLAIN)}
        add(name, type(module).__qualname__, sorted(plain.items()), module.extra_repr())
        for key_of, tensor in ((k, v) for k, v in vars(module).items() if k not in common and isinstance(v, Tensor)):
            add(key_of, tensor.detach().cpu().tolist())  # a constant that is no buffer
    kinds = {kind for module in network.modules() for kind in type(module).__mro__ if kind is not object}
    for kind in sorted(kinds, key=lambda kind: f"{kind.__module__}.{kind.__qualname__}"):
        with suppress(OSError, TypeError):  # typed into an interpreter: no source to be had
            add(inspect.getsource(kind))
    for name, tensor in chain(network.named_parameters(), network.named_buffers()):
        add(name, tensor.dtype, tensor.shape)
        key.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return key.hexdigest()


def outline(network: nn.Module) -> str:
    """Hash what a network is made of, and how far each of its tensors spreads; the same on any machine.

    Unlike `digest` it leaves out sources, and the last digits of random weights, which differ from one processor to
    another. To three digits the spreads of a few tensors tell networks of different seeds apart.
    """
    key = blake2b(digest_size=16)
    common = vars(nn.Module()).keys()
    for name, module in network.named_modules():
        own = {k: v for k, v in vars(module).items() if k not in common}
        plain = re.sub(r" at 0x\w+", "", f"{sorted((k, v) for k, v in own.items() if isinstance(v, PLAIN))}")
        key.update(f"{name} {type(module).__qualname__} {plain} {module.extra_repr()}\n".encode())
        constants = ((k, v) for k, v in own.items() if isinstance(v, Tensor))
        held = chain(constants, module.named_parameters(recurse=False), module.named_buffers(recurse=False))
        for part, tensor in held:
            spread = float(tensor.detach().cpu().double().std(correction=0))
            key.update(f"{part} {tensor.dtype} {tuple(tensor.shape)} {spread:.3g}\n".encode())
    return key.hexdigest()


def write_columns(folder: Path, chunks: Iterable[Columns]) -> None:
    """Stream each column to its own file, then make the folder valid."""
    folder.mkdir()
    columns: dict[str, _Column] = {}
    with ExitStack() as files:
        for chunk in chunks:
            for name, rows in chunk.items():
                if name not in columns:
                    columns[name] = _Column(folder / f"{len(columns)}.npy", rows.numpy())
                    files.callback(columns[name].file.close)
                columns[name].append(rows.numpy())
        for column in columns.values():
            column.finish()
    write_whole(folder / MARKER, json.dumps({name: column.path.name for name, column in columns.items()}))


class _Column:
    """A .npy file that grows by rows; its header learns their number in the end (NumPy leaves room for that)."""

    def __init__(self, path: Path, like: np.ndarray[Any, Any]) -> None:
        self.path, self.like, self.rows = path, like, 0
        self.file = path.open("wb")
        self._header()

    def append(self, rows: np.ndarray[Any, Any]) -> None:
        self.file.write(np.ascontiguousarray(rows).data)
        self.rows += len(rows)

    def finish(self) -> None:
        self.file.seek(0)
        self._header()
        self.file.flush()
        os.fsync(self.file.fileno())

    def _header(self) -> None:
        shape = (self.rows, *self.like.shape[1:])
        facts = {"descr": self.like.dtype.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self.file, facts)
