"""Which moments of two modalities are put together though they do not belong together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Generator, Tensor

from pretext.core.errors import require
from pretext.ops.constants import kept
from pretext.ops.geometric import uniform_to_int
from pretext.ops.temporal import random_starts

HALF_A_SECOND = 13  # frames, at 25 a second
KINDS = ("easy", "hard", "super_hard")


class Moments(NamedTuple):
    """Where the clips of pairs begin, (N,) int64 each."""

    start: Tensor
    """First frame of the aligned clips of both modalities."""
    other: Tensor
    """First frame of the misaligned clip of the second modality."""
    source: Tensor
    """The item that the misaligned clip is of."""


@dataclass(frozen=True)
class Negatives:
    """Where the misaligned clip comes from, which makes it easy or hard to tell.

    - "easy": from another item of the batch, at the same place in its window (Look, Listen and Learn). A single item,
      such as a validation set may leave over, gets a hard one, or if the window is too short its own moment again, of
      which nothing can be told;
    - "hard": from the same item, at least `gap` frames between the end of one clip and the beginning of the other;
    - "super_hard": from the same item, at most `overlap` frames, and at least one, belonging to both.

    Both moments of a window are drawn at once, uniformly among all ordered pairs that are far enough apart. Swapped
    they are as likely, so aligned and misaligned clips begin at every place equally often: where in its window a clip
    comes from (padding, fades, the beat of the codec) cannot give the answer away.

    Args:
        kinds: the kind of the misaligned pairs, or the share of each kind.
        curriculum: the same by epoch, each from that epoch on, such as AVTS's {50: {easy: 0.25, hard: 0.75}}. Outside
            training the last one always holds, so that the curves of validation compare.
        gap: frames between the two moments of a hard pair; AVTS's half a second is 13 frames at 25 a second.
        overlap: most frames that the two moments of a super-hard pair share; none: half of a clip.

    Raises:
        ValueError: a number is out of its range.

    """

    kinds: Literal["easy", "hard", "super_hard"] | dict[str, float] = "easy"
    curriculum: dict[int, dict[str, float]] | None = None
    gap: int = HALF_A_SECOND
    overlap: int | None = None

    def __post_init__(self) -> None:
        require(self.gap >= 0, self, f"gap={self.gap}", "give 0 or more frames")
        for epoch, mix in self.stages().items():
            require(
                epoch >= 0 and mix.keys() <= set(KINDS) and min(mix.values(), default=-1) >= 0,
                self,
                f"negatives from epoch {epoch} on are {mix}",
                f"give shares of {', '.join(KINDS)}, from epochs of 0 or more",
            )
            got = f"the shares from epoch {epoch} on, {mix}, add up to {sum(mix.values())}, not 1"
            require(abs(sum(mix.values()) - 1) <= 1e-6, self, got, "change one of them")

    def stages(self) -> dict[int, dict[str, float]]:
        """List the shares of the kinds by the epoch from which on they hold, first to last."""
        start: dict[str, float] = {self.kinds: 1.0} if isinstance(self.kinds, str) else dict(self.kinds)
        return dict(sorted(({0: start} | (self.curriculum or {})).items()))

    def shared(self, frames: int) -> int:
        """Tell how many frames a super-hard pair of clips shares at most.

        Raises:
            ValueError: there are super-hard pairs, and the clips are too short for this overlap.

        """
        overlap = frames // 2 if self.overlap is None else self.overlap
        some = any(mix.get("super_hard") for mix in self.stages().values())
        require(
            not some or 1 <= overlap < frames,
            self,
            f"overlap is {overlap} of {frames} frames",
            f"super-hard pairs share at least 1 and are moved by at least 1: give 1 to {frames - 1}, and 2 frames",
        )
        return overlap

    def least(self, kind: str, frames: int) -> int:
        """Tell by how many frames at least the moments of a pair of that kind lie apart."""
        return {"easy": 0, "hard": frames + self.gap, "super_hard": frames - self.shared(frames)}[kind]

    def needed(self, frames: int) -> tuple[int, str]:
        """Tell how long windows must be for clips of `frames`, and for which kind of pairs."""
        kinds = {kind for mix in self.stages().values() for kind, share in mix.items() if share > 0}
        return max((frames + self.least(kind, frames), kind) for kind in kinds)

    def draw(self, n: int, window: int, frames: int, epoch: int | None, rng: Generator) -> Moments:
        """Draw the moments of N pairs in windows.

        Args:
            n: items.
            window: length of the windows.
            frames: length of the clips.
            epoch: whose shares hold; none: those of the last.
            rng: draws everything.

        """
        mix, places, device = self._mix(epoch), window - frames + 1, rng.device
        if n == 1 and mix.get("easy") and self.least("hard", frames) < places:
            mix = {"hard": 1.0}
        shares = _ends(tuple(mix.get(kind, 0.0) for kind in KINDS), device)
        kinds = (torch.rand(n, 1, generator=rng, device=device) >= shares).sum(1)
        items = torch.arange(n, device=device)
        turn = torch.randint(1, max(2, n), (), generator=rng, device=device)  # a whole turn would meet itself
        start = other = random_starts(n, window, frames, rng)
        source = (items + turn) % n
        for number, (kind, most) in enumerate((("hard", places), ("super_hard", frames - 1)), start=1):
            if mix.get(kind):
                pairs = _pairs(places, self.least(kind, frames), most, device)
                drawn = pairs[uniform_to_int(torch.rand(n, generator=rng, device=device), len(pairs))]
                mine = kinds == number
                start, other = (torch.where(mine, *two) for two in zip(drawn.unbind(1), (start, other), strict=True))
                source = torch.where(mine, items, source)
        return Moments(start, other, source)

    def _mix(self, epoch: int | None) -> dict[str, float]:
        """Find the shares of the kinds that hold in an epoch."""
        stages = self.stages()
        return stages[max(start for start in stages if epoch is None or start <= epoch)]


@kept
def _ends(shares: tuple[float, ...], device: torch.device) -> Tensor:
    """Add shares up, all but the last: where each kind ends in [0, 1)."""
    with torch.inference_mode(False):
        return torch.tensor(shares).cumsum(0)[:-1].to(device)


@kept
def _pairs(places: int, least: int, most: int, device: torch.device) -> Tensor:
    """Keep `moments_apart` on a device."""
    with torch.inference_mode(False):
        return moments_apart(places, least, most).to(device)


def moments_apart(places: int, least: int, most: int) -> Tensor:
    """List all ordered pairs of `places` starts that lie `least` to `most` frames apart: (P, 2) int64.

    The list is its own mirror image, so both columns hold every start equally often.
    """
    starts = torch.arange(places)
    apart = (starts[:, None] - starts).abs()
    return ((apart >= least) & (apart <= most)).nonzero()
