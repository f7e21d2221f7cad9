"""A network for words: a small transformer over hashed words."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pretext.core.errors import require
from pretext.core.types import Backbone, Features
from pretext.ops.words import buckets, byte_table, byte_values, word_hashes


class Text(Backbone):
    """A small transformer over the words of texts, (N, 1, L) bytes of UTF-8 over 255 (see `ops.words`).

    There is no vocabulary to learn, to keep or to lose: a word is the sum of `hashes` rows of one table, which its
    letters choose (hash embeddings, https://arxiv.org/abs/1709.03933). With 4,096 rows and two hashes two words are
    alike once in 17 million pairs. So an exported network reads any text, and ranks need not agree on words.

    Before the words stands one learnt token; what it has become after the last norm is `pooled`. Blocks are pre-norm
    with four times as wide a hidden layer, as in CLIP. Stages have no grid: the words' mean before any block
    ("words"), and the mean over words after each block ("block1", ...), (N, width).

    Args:
        width: of words and of `pooled`.
        depth: number of blocks.
        heads: of attention, which divide the width.
        words: how many are read, of longer texts the first.
        rows: of the table.
        hashes: rows that a word is the sum of.

    Raises:
        ValueError: an argument is out of its range.

    """

    axes = "l"
    byte_numbers: Tensor

    def __init__(
        self, width: int = 128, depth: int = 2, heads: int = 4, words: int = 32, rows: int = 4096, hashes: int = 2
    ) -> None:
        super().__init__()
        got = f"{width=}, {depth=}, {heads=}, {words=}, {rows=}, {hashes=}"
        require(min(width, depth, heads, words, rows, hashes) >= 1, self, got, "give at least 1 of each")
        require(width % heads == 0, self, f"{width=}, {heads=}", "choose heads that divide the width")
        self.words, self.rows, self.hashes = words, rows, hashes
        self.dim = width
        self.stages = dict.fromkeys(["words", *(f"block{i + 1}" for i in range(depth))], width)
        self.table = nn.Embedding(rows, width)
        self.places = nn.Parameter(torch.empty(words + 1, width))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.register_buffer("byte_numbers", byte_table(), persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw words and places anew, small as in CLIP."""
        nn.init.normal_(self.table.weight, std=0.02)
        nn.init.normal_(self.places, std=0.01)

    def forward(self, x: Tensor) -> Features:
        hashes, there = word_hashes(byte_values(x), self.words, self.byte_numbers)
        rows = torch.stack([buckets(hashes, self.rows, which) for which in range(self.hashes)])
        words = self.table(rows).sum(0) * there.unsqueeze(2).to(self.places)
        z = torch.cat([words.new_zeros(len(words), 1, self.dim), words], 1) + self.places
        absent = torch.cat([torch.zeros_like(there[:, :1]), ~there], 1)
        stages = {"words": _mean(words, there)}
        for i, block in enumerate(self.blocks):
            z = block(z, src_key_padding_mask=absent)
            stages[f"block{i + 1}"] = _mean(z[:, 1:], there)
        return Features(stages, self.norm(z[:, 0]))


def _mean(words: Tensor, there: Tensor) -> Tensor:
    """Average the words (N, W, D) that are there; of an empty text it is 0."""
    share = there.to(words) / there.sum(1, keepdim=True).clamp(min=1)
    return (words * share.unsqueeze(2)).sum(1)
