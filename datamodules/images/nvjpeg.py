"""JPEG files decoded by a CUDA device (nvJPEG, through torchvision), and by the processor what that cannot do.

Its pixels differ from the processor's by a few levels of grey, so it is a choice of its own (`reading.decoder`), and
part of the fingerprint. Nothing is kept: whoever keeps canvases decodes them once only.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import final

import numpy as np
import torch
from PIL import JpegImagePlugin
from torch import Tensor
from torch.nn.functional import interpolate

from datamodules.errors import DataError
from datamodules.file_source import FileSource
from datamodules.images.canvases import Canvases, Decoding
from datamodules.loader import Batch, Source, batch_of
from datamodules.options import Reading

_RGB = 3  # of torchvision.io.ImageReadMode
_AHEAD = 3  # batches whose files are read beforehand
_READERS = 4  # threads that read them, which leaves Python's lock
_EXIF_ORIENTATION, _UPRIGHT = 0x0112, 1


def chosen_decoder(files: FileSource, reading: Reading) -> Source:
    """Return the files as they are, or as a CUDA device decodes them, if that is asked for.

    Raises:
        DataError: it is asked for, but there is none.

    """
    there = torch.cuda.is_available()
    if reading.decoder == "cuda" and not there:
        raise DataError('reading.decoder is "cuda", but there is no CUDA device; "auto" takes one where there is one')
    return OnDevice(files) if there and reading.decoder != "cpu" else files


@final
class OnDevice(Source):
    """Pictures, uint8 (N, 3, S, S) on the current CUDA device."""

    def __init__(self, files: FileSource) -> None:
        assert isinstance(files.decoder, Canvases)
        self.files, self.how, self.y = files, files.decoder.how, files.y

    def __len__(self) -> int:
        return len(self.files)

    def side(self) -> int | None:
        return self.files.side()

    def fingerprint(self, dated: bool = True) -> str:
        return blake2b(f"nvjpeg {self.files.fingerprint(dated)}".encode(), digest_size=16).hexdigest()

    def read(self, plan: Sequence[Tensor], pool: Tensor | None = None) -> Iterator[Batch]:
        with ThreadPoolExecutor(_READERS, thread_name_prefix="read") as threads:
            read: deque[tuple[Tensor, Iterator[Tensor | None]]] = deque()
            for positions in plan:
                paths = [self.files.root / self.files.names[k] for k in positions.tolist()]
                read.append((positions, threads.map(lambda path: plain_jpeg(path, self.how), paths)))
                if len(read) > _AHEAD:
                    yield from self._batch(*read.popleft(), pool)
            while read:
                yield from self._batch(*read.popleft(), pool)

    def _batch(self, positions: Tensor, read: Iterator[Tensor | None], pool: Tensor | None) -> Iterator[Batch]:
        """Decode what the device can, and let the processor do the rest; or nothing, if no item is left."""
        device = torch.device("cuda", torch.cuda.current_device())
        data = dict(enumerate(read))
        plain = {slot: found for slot, found in data.items() if found is not None}
        try:
            images = torch.ops.image.decode_jpegs_cuda(list(plain.values()), _RGB, device) if plain else []
        except RuntimeError:  # one of them is broken: the processor tells which
            plain, images = {}, []
        x = torch.empty((len(positions), 3, self.how.canvas, self.how.canvas), dtype=torch.uint8, device=device)
        for slot, image in zip(plain, images, strict=True):
            x[slot] = canvas_of(image, self.how)
        index, kept = positions.clone(), torch.ones(len(positions), dtype=torch.bool)
        rest = torch.tensor([slot for slot in data if slot not in plain], dtype=torch.int64)
        for batch in self.files.read([positions[rest]] if len(rest) else [], pool):
            slots = rest if pool is not None else rest[torch.isin(positions[rest], batch["index"])]
            x[slots.to(device)], index[slots] = batch["x"].to(device), batch["index"]
            rest = rest[~torch.isin(rest, slots)]
        kept[rest] = False  # bad ones that nothing replaces
        if kept.any():
            yield batch_of(x if kept.all() else x[kept.to(device)], index[kept], self.files.y)


def plain_jpeg(path: Path, how: Decoding) -> Tensor | None:
    """Read a file for the device; None if it is none of the JPEGs that the device decodes as the processor does.

    These are upright, grey or of three colours, and not too large.
    """
    try:
        data = np.fromfile(path, np.uint8)
        if data[:2].tobytes() != b"\xff\xd8":
            return None
        with JpegImagePlugin.JpegImageFile(BytesIO(data.data)) as image:
            upright = image.getexif().get(_EXIF_ORIENTATION, _UPRIGHT) == _UPRIGHT
            fine = upright and image.mode in ("L", "RGB") and image.width * image.height <= how.max_pixels
    except Exception:  # the processor tells what is wrong with it
        return None
    return torch.from_numpy(data) if fine else None


def canvas_of(image: Tensor, how: Decoding) -> Tensor:
    """Resize the centre square of a picture, (3, H, W) -> (3, S, S), or all of it; rounded to bytes."""
    height, width = image.shape[1:]
    tall, wide = (height, width) if how.whole else (min(height, width),) * 2
    top, left = (height - tall) // 2, (width - wide) // 2
    square = image[None, :, top : top + tall, left : left + wide].float()
    small = interpolate(square, (how.canvas, how.canvas), mode="bilinear", antialias=True)
    return small[0].round().clamp(0, 255).byte()
