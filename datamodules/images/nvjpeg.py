"""JPEG files decoded by a CUDA device (nvJPEG, through torchvision), and by the processor what that cannot do.

Its pixels differ from the processor's by a few levels of grey, so it is a choice of its own (`reading.decoder`), and
part of the fingerprint. What it decodes is not kept: whoever keeps canvases decodes them once only.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import NamedTuple, TypeVar, final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from datamodules.decoding.orders import Order
from datamodules.errors import DataError
from datamodules.file_source import FileSource, Pass
from datamodules.images.canvases import Canvases, Decoding
from datamodules.images.decode import content
from datamodules.images.jpeg_headers import UPRIGHT, jpeg_header, slow_header
from datamodules.loader import Batch, Source, batch_of
from datamodules.options import Reading

T = TypeVar("T")
Decode = Callable[[list[Tensor], torch.device], list[Tensor]]
"""From the bytes of JPEG files to pictures on a device, uint8 (3, H, W) each; RuntimeError: one of them is broken."""

_RGB = 3  # of torchvision.io.ImageReadMode
_AHEAD = 2  # batches whose files are read beforehand, and as many whose rest the processor has in its hands
_READERS = 4  # threads that read them
_AT_ONCE = 2**26  # numbers of the pictures that are resized together: 256 MiB


def chosen_decoder(files: FileSource, reading: Reading) -> Source:
    """Return the files as they are, or as a CUDA device decodes them, if that is asked for.

    Raises:
        DataError: it is asked for, but there is none.

    """
    there = torch.cuda.is_available()
    if reading.decoder == "cuda" and not there:
        raise DataError('reading.decoder is "cuda", but there is no CUDA device; "auto" takes one where there is one')
    return OnDevice(files) if there and reading.decoder != "cpu" else files


def on_cuda(files: list[Tensor], device: torch.device) -> list[Tensor]:
    """Decode by nvJPEG.

    Raises:
        RuntimeError: one of them is broken.

    """
    images: list[Tensor] = torch.ops.image.decode_jpegs_cuda(files, _RGB, device)
    return images


@final
class OnDevice(Source):
    """Pictures, uint8 (N, 3, S, S) on a device.

    Args:
        files: whose canvases they are.
        device: by default the current CUDA device.
        decode: what decodes there.

    """

    def __init__(self, files: FileSource, device: torch.device | None = None, decode: Decode = on_cuda) -> None:
        assert isinstance(files.decoder, Canvases)
        self.files, self.how, self.y = files, files.decoder.how, files.y
        self.device, self.decode = device, decode
        self._rest = np.zeros(len(files), np.bool_)
        """Which files the processor was seen to decode: the only ones for whose canvases others' may have to go."""

    def __len__(self) -> int:
        return len(self.files)

    def side(self) -> int | None:
        return self.files.side()

    def fingerprint(self, dated: bool = True) -> str:
        return blake2b(f"nvjpeg {self.files.fingerprint(dated)}".encode(), digest_size=16).hexdigest()

    def read(self, plan: Sequence[Tensor], pool: Tensor | None = None) -> Iterator[Batch]:
        with (
            ThreadPoolExecutor(_READERS, thread_name_prefix="read") as threads,
            closing(self.files.begin(pool, self._rest)) as processor,
        ):
            looked = _ahead(((positions, self._look(positions, threads)) for positions in plan), _AHEAD)
            for work in _ahead((self._share(processor, *found) for found in looked), _AHEAD):
                yield from self._batch(processor, *work)

    def _look(self, positions: Tensor, threads: ThreadPoolExecutor) -> Iterator[list[Tensor | None]]:
        """Let threads read the files, each a share of them: to hand over every one by itself costs more than that."""
        root, names = self.files.root, self.files.names
        paths = [f"{root}/{names[k]}" for k in positions.tolist()]
        size = -(-len(paths) // _READERS) or 1
        shares = [paths[start : start + size] for start in range(0, len(paths), size)]
        return threads.map(lambda share: [plain_jpeg(path, self.how) for path in share], shares)

    def _share(self, processor: Pass, positions: Tensor, read: Iterator[list[Tensor | None]]) -> _Work:
        """Let the processor begin with what is not for the device."""
        data = list(chain.from_iterable(read))
        plain = {slot: found for slot, found in enumerate(data) if found is not None}
        rest = torch.tensor([slot for slot, found in enumerate(data) if found is None], dtype=torch.int64)
        self._rest[positions[rest].numpy()] = True
        return _Work(positions, plain, [(rest, processor.order(positions[rest]))] if len(rest) else [])

    def _batch(
        self, processor: Pass, positions: Tensor, plain: dict[int, Tensor], orders: list[tuple[Tensor, Order]]
    ) -> Iterator[Batch]:
        """Decode what the device can, and wait for the rest; nothing, if no item is left."""
        device = self.device or torch.device("cuda", torch.cuda.current_device())
        slots = torch.tensor(list(plain), dtype=torch.int64)
        try:
            images = self.decode(list(plain.values()), device) if plain else []
        except RuntimeError:  # one of them is broken: the processor tells which
            images, orders = [], [*orders, (slots, processor.order(positions[slots]))]
        index, parts = positions.clone(), [(slots[numbers], x) for numbers, x in resized(images, self.how)]
        for into, order in orders:
            for batch in processor.serve(order):  # none, if all of them are bad and nothing replaces them
                there = into if processor.pool is not None else into[torch.isin(positions[into], batch["index"])]
                index[there] = batch["index"]
                parts.append((there, batch["x"].to(device)))
        if parts:
            there = torch.cat([into for into, _ in parts])
            turn = there.argsort()
            x = torch.cat([x for _, x in parts])[turn.to(device)]
            del images, parts  # the device needs their memory while the batch is in use
            yield batch_of(x, index[there[turn]], self.files.y)


class _Work(NamedTuple):
    """A batch whose files are read."""

    positions: Tensor
    plain: dict[int, Tensor]
    """By slot, the bytes of the files for the device."""
    orders: list[tuple[Tensor, Order]]
    """Slots of the others, and what the processor was asked for."""


def _ahead(items: Iterable[T], count: int) -> Iterator[T]:
    """Take so many items more before one is handed on."""
    waiting: deque[T] = deque()
    for item in items:
        waiting.append(item)
        if len(waiting) > count:
            yield waiting.popleft()
    while waiting:
        yield waiting.popleft()


def resized(images: Sequence[Tensor], how: Decoding) -> Iterator[tuple[list[int], Tensor]]:
    """Resize the centre squares of pictures, or all of each, (3, H, W) -> (N, 3, S, S), rounded to bytes.

    Those of one size are resized at once; with them come their numbers.
    """
    groups: defaultdict[torch.Size, list[int]] = defaultdict(list)
    squares = [_square(image, how) for image in images]
    for number, square in enumerate(squares):
        groups[square.shape].append(number)
    for shape, group in groups.items():
        many = max(1, _AT_ONCE // shape.numel())
        for numbers in [group[start : start + many] for start in range(0, len(group), many)]:
            large = torch.stack([squares[number] for number in numbers]).float()
            small = interpolate(large, (how.canvas, how.canvas), mode="bilinear", antialias=True)
            yield numbers, small.round_().clamp_(0, 255).byte()


def _square(image: Tensor, how: Decoding) -> Tensor:
    height, width = image.shape[1:]
    tall, wide = (height, width) if how.whole else (min(height, width),) * 2
    top, left = (height - tall) // 2, (width - wide) // 2
    return image[:, top : top + tall, left : left + wide]


def plain_jpeg(path: str | Path, how: Decoding) -> Tensor | None:
    """Read a file for the device; None if it is none of the JPEGs that the device decodes as the processor does.

    These are upright, grey or of three colours, and not too large.
    """
    try:
        data = content(path)
        if data[:2].tobytes() != b"\xff\xd8":
            return None
        header = jpeg_header(data.data) or slow_header(data.data)
    except Exception:  # the processor tells what is wrong with it
        return None
    fine = header.orientation == UPRIGHT and header.colours in (1, 3) and header.width * header.height <= how.max_pixels
    return torch.from_numpy(data) if fine else None
