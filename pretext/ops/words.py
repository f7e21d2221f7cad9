"""Texts as tensors: bytes of UTF-8, as a picture is bytes of light, and the words in them.

A text is (1, L) of its bytes in UTF-8, filled up with 0. It travels as uint8 and is shown as floats b / 255 in [0, 1],
as pictures are; so a text passes every floor as any other input does. A word is a run of letters and digits (of other
alphabets too: any byte from 128 on), small and large letters of ASCII alike. What else there is parts words.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import torch
from torch import Tensor

from pretext.core.errors import require_input

BYTES = 256
ODD = 0x9E3779B97F4A7C15 - 2**64  # the golden ratio in 64 bits: odd, so that no product loses a bit


def as_bytes(texts: Sequence[str], length: int = 128) -> Tensor:
    """Write texts as uint8 (N, 1, length); longer ones end before the first letter that does not fit whole."""
    rows = torch.zeros(len(texts), 1, length, dtype=torch.uint8)
    for row, text in zip(rows[:, 0], texts, strict=True):
        kept = text.encode()[:length].decode(errors="ignore").encode()
        row[: len(kept)] = torch.tensor(list(kept), dtype=torch.uint8)
    return rows


def as_texts(x: Tensor) -> list[str]:
    """Read texts (N, 1, L), uint8 or floats b / 255."""
    rows = byte_values(x).to("cpu", torch.uint8)
    return [bytes(row.tolist()).rstrip(b"\0").decode(errors="replace") for row in rows]


def byte_values(x: Tensor) -> Tensor:
    """Return the bytes of texts (N, 1, L), uint8 or floats b / 255, as int64 (N, L)."""
    require_input(x.ndim == 3 and x.shape[1] == 1, "Text", "texts (N, 1, L)", x, "give their bytes, as Captions does")
    values = (x.float() * (BYTES - 1)).round().long() if x.is_floating_point() else x.long()
    return values[:, 0].clamp(0, BYTES - 1)


def byte_table() -> Tensor:
    """Give each byte a number of 64 bits, (256,) int64, always the same."""
    digests = (blake2b(bytes([value]), digest_size=8).digest() for value in range(BYTES))
    return torch.tensor([int.from_bytes(digest, "big", signed=True) for digest in digests])


def word_hashes(values: Tensor, words: int, table: Tensor) -> tuple[Tensor, Tensor]:
    """Give each of a text's first words a number that only the same word has, but for one in 2^64.

    Args:
        values: (N, L) int64 bytes.
        words: how many, W.
        table: of `byte_table`.

    Returns:
        (N, W) int64, and (N, W) bool, whether there is such a word.

    """
    small = torch.where((values >= ord("A")) & (values <= ord("Z")), values + 32, values)
    inside = ((small >= ord("a")) & (small <= ord("z"))) | ((small >= ord("0")) & (small <= ord("9"))) | (small >= 128)
    begins = inside & ~torch.nn.functional.pad(inside, (1, 0))[:, :-1]
    number = begins.cumsum(1) - 1
    place = torch.arange(values.shape[1], device=values.device)
    since = place - (place * begins).cummax(1).values  # of each byte, how far into its word
    powers = torch.full_like(place, ODD).cumprod(0)  # wraps around
    terms = table[small] * powers[since]
    slot = torch.where(inside & (number < words), number, words)
    hashes = values.new_zeros(len(values), words + 1).scatter_add_(1, slot, terms)[:, :words]
    return hashes, torch.arange(words, device=values.device) < begins.sum(1, keepdim=True)


def buckets(hashes: Tensor, rows: int, which: int) -> Tensor:
    """Choose a row of a table of `rows` for each hash, int64 in [0, rows); `which`: several independent choices."""
    mixed = (hashes ^ (hashes >> 29)) * (ODD + 2 * which)
    return ((mixed ^ (mixed >> 32)) * ODD >> 20) % rows
