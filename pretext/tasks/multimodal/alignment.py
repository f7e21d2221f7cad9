"""https://arxiv.org/abs/1705.08168, https://arxiv.org/abs/1804.03641, https://arxiv.org/abs/1807.00230: same moment?"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Generator, Tensor, nn

from pretext.backbones.multimodal import pair_of
from pretext.core.types import Backbone, Features, Grade, Panel, Puzzle, Task
from pretext.nn.losses import blind_guess, contrastive, cross_entropy
from pretext.ops.drawing import show
from pretext.ops.geometric import whole
from pretext.ops.temporal import draw_starts, span, window_of

KINDS = ("easy", "hard", "super_hard")


class Match(NamedTuple):
    """What the pairs are: item by item the aligned one, then the misaligned one."""

    aligned: Tensor
    """(2 N,) int64, 1 or 0."""
    shift: Tensor
    """(2 N,) int64: frames by which the second modality begins after the first."""
    source: Tensor
    """(2 N,) int64: the item that the second modality is taken from."""


class Alignment(Task):
    """Tell whether two modalities show the same moment: picture and sound, or two sorts of picture.

    Each item's clip of the first modality meets two of the second, its own moment's and another one, so that labels are
    exactly balanced and the first network looks once for both. Where the other one comes from makes it easy or hard:

    - "easy": from another item of the batch, at the same place in its window (Look, Listen and Learn). A single item,
      such as a validation set may leave over, gets a hard one, or if the window is too short its own moment again, of
      which nothing can be told;
    - "hard": from the same item, at least `gap` frames between the end of one clip and the beginning of the other;
    - "super_hard": from the same item, at most `overlap` frames, and at least one, belonging to both.

    Both moments of a window are drawn at once, uniformly among all ordered pairs that are far enough apart. Swapped
    they are as likely, so aligned and misaligned clips begin at every place equally often: where in its window a clip
    comes from (padding, fades, the beat of the codec) cannot give the answer away.

    `loss="bce"` puts a head of one hidden layer on both pooled features. "contrastive" is AVTS's: embeddings of one
    hidden layer, close together for the same moment and `margin` apart for others (see `losses.contrastive`). It starts
    at the cost of embeddings that are all equal, margin^2 / 2; two constants half a margin apart cost half of that, so
    look at the accuracy.

    Args:
        backbone: a `MultiModal`.
        first: modality that is seen once for two pairs: that of the larger network.
        second: modality that is the same moment's in one pair and another's in the other.
        frames: length of the clips; sound is as long as these frames.
        loss: "bce" or "contrastive".
        negatives: the kind of the misaligned pairs, or the share of each kind.
        curriculum: the same by epoch, each from that epoch on, such as AVTS's {50: {easy: 0.25, hard: 0.75}}. Outside
            training the last one always holds, so that the curves of validation compare.
        gap: frames between the two moments of a hard pair (AVTS: half a second).
        overlap: most frames that the two moments of a super-hard pair share; none: half of `frames`.
        margin: of the contrastive loss.
        width: of the hidden layer, and of the embeddings.

    Raises:
        ValueError: the backbone has no such two networks, or an argument is out of its range.

    """

    def __init__(
        self,
        backbone: Backbone,
        first: str = "rgb",
        second: str = "audio",
        frames: int = 8,
        loss: Literal["bce", "contrastive"] = "bce",
        negatives: Literal["easy", "hard", "super_hard"] | dict[str, float] = "easy",
        curriculum: dict[int, dict[str, float]] | None = None,
        gap: int = 0,
        overlap: int | None = None,
        margin: float = 0.99,
        width: int = 128,
    ) -> None:
        super().__init__()
        dims = [network.dim for network in pair_of(self, backbone, first, second)]
        start: dict[str, float] = {negatives: 1.0} if isinstance(negatives, str) else dict(negatives)
        stages = {0: start} | (curriculum or {})
        overlap = frames // 2 if overlap is None else overlap
        _check(frames, loss, stages, gap, overlap, margin, width)
        self.first, self.second, self.frames, self.loss = first, second, frames, loss
        self.stages = dict(sorted(stages.items()))
        self.gap, self.overlap, self.margin = gap, overlap, margin
        self.epoch = 0
        if loss == "bce":
            self.head = _layers(sum(dims), width, 2, 0.01)  # starts at a blind guess
        else:
            std = 0.1 * margin / width  # starts with distances that are small beside the margin
            self.heads = nn.ModuleList(_layers(dim, width, width, std) for dim in dims)

    def begin(self, epoch: int) -> None:
        self.epoch = epoch

    def pose(self, x: dict[str, Tensor], rng: Generator) -> Puzzle:
        """Cut clips out of windows: {first: (N, C, frames, *S), second: (2 N, ...)}; the answer is a `Match`.

        Raises:
            ValueError: `x` lacks a modality, or its windows are too short.

        """
        first, second, window = self._read(x)
        start, other, source = self._draw(len(first), window, rng)
        items = torch.arange(len(first), device=first.device)
        starts, sources = torch.stack((start, other), 1).flatten(), torch.stack((items, source), 1).flatten()
        question = {
            self.first: _cut(first, items, start, self.frames, window),
            self.second: _cut(second, sources, starts, self.frames, window),
        }
        aligned = torch.tensor([1, 0], device=first.device).repeat(len(first))
        return Puzzle(question, Match(aligned, starts - start.repeat_interleave(2), sources))

    def solve(self, features: dict[str, Features], given: None) -> Tensor:
        """Give logits (2 N, 2) of misaligned and aligned, or both embeddings of each pair (2 N, 2, width)."""
        pooled = (features[self.first].pooled, features[self.second].pooled)
        if self.loss == "bce":
            logits: Tensor = self.head(torch.cat((pooled[0].repeat_interleave(2, 0), pooled[1]), 1))
            return logits
        one, two = (head(seen) for head, seen in zip(self.heads, pooled, strict=True))
        return torch.stack((one.repeat_interleave(2, 0), two), 1)

    def grade(self, prediction: Tensor, answer: Match) -> Grade:
        if self.loss == "bce":
            return cross_entropy(prediction, answer.aligned)
        return contrastive(_distances(prediction), answer.aligned, self.margin)

    def chance(self) -> Grade:
        """Return a blind guess: ln 2, or what embeddings that are all equal cost."""
        if self.loss == "bce":
            return blind_guess(2)
        return Grade(torch.tensor(self.margin**2 / 2), {"accuracy": torch.tensor(0.5)})

    def draw(self, puzzle: Puzzle, prediction: Tensor | None) -> list[list[Panel]]:
        """Draw the clip of each item, what belongs to it, and what does not; with what was said of either."""
        verdicts: list[bool] | list[None] = [None] * len(puzzle.answer.aligned)
        if prediction is not None:
            said = prediction.detach().argmax(1) == 1
            if self.loss == "contrastive":
                said = _distances(prediction.detach()) < self.margin / 2
            verdicts = said.tolist()
        rows = [[Panel(show(clip), "do these belong together?")] for clip in puzzle.question[self.first]]
        answers = zip(*(part.tolist() for part in puzzle.answer), strict=True)
        shown = zip(puzzle.question[self.second], answers, verdicts, strict=True)
        for i, (clip, (aligned, shift, source), verdict) in enumerate(shown):
            caption = f"answer: {_relation(i // 2, bool(aligned), shift, source)}"
            if verdict is not None:
                caption += f"; prediction: {'aligned' if verdict else 'not aligned'}"
            rows[i // 2].append(Panel(show(clip), caption, None if verdict is None else verdict == bool(aligned)))
        return rows

    def extra_repr(self) -> str:
        return (
            f"first={self.first!r}, second={self.second!r}, frames={self.frames}, loss={self.loss!r}, "
            f"stages={self.stages}, gap={self.gap}, overlap={self.overlap}"
        )

    def _mix(self) -> dict[str, float]:
        """Find the shares of the kinds that hold now."""
        begun = [epoch for epoch in self.stages if epoch <= self.epoch or not self.training]
        return self.stages[max(begun)]

    def _least(self, kind: str) -> int:
        """Tell by how many frames at least the moments of a pair of that kind lie apart."""
        return {"easy": 0, "hard": self.frames + self.gap, "super_hard": self.frames - self.overlap}[kind]

    def _read(self, x: dict[str, Tensor]) -> tuple[Tensor, Tensor, int]:
        """Find both modalities, and how many frames a window has."""
        window = window_of(self, x, self.first, self.second)
        kinds = {kind for mix in self.stages.values() for kind, share in mix.items() if share > 0}
        needed, kind = max((self.frames + self._least(kind), kind) for kind in kinds)
        if window < needed:
            raise ValueError(
                f"Alignment: {kind} pairs of {self.frames} frames with gap={self.gap}, overlap={self.overlap} take "
                f"windows of at least {needed} frames, got {window}; raise `window` in the data module to {needed} or "
                "more, or lower frames"
            )
        return x[self.first], x[self.second], window

    def _draw(self, n: int, window: int, rng: Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Draw where the clips begin, where the misaligned ones do, and of which items these are: each (n,) int64."""
        mix, places, device = self._mix(), window - self.frames + 1, rng.device
        if n == 1 and mix.get("easy") and self._least("hard") < places:
            mix = {"hard": 1.0}
        shares = torch.tensor([mix.get(kind, 0.0) for kind in KINDS]).cumsum(0)[:-1].to(device)
        kinds = (torch.rand(n, 1, generator=rng, device=device) >= shares).sum(1)
        items = torch.arange(n, device=device)
        turn = torch.randint(1, max(2, n), (), generator=rng, device=device)  # a whole turn would meet itself
        start = other = draw_starts(n, window, self.frames, rng)
        source = (items + turn) % n
        for number, (kind, most) in enumerate((("hard", places), ("super_hard", self.frames - 1)), start=1):
            if mix.get(kind):
                pairs = moments_apart(places, self._least(kind), most).to(device)
                drawn = pairs[whole(torch.rand(n, generator=rng, device=device), len(pairs))]
                mine = kinds == number
                start, other = (torch.where(mine, *two) for two in zip(drawn.unbind(1), (start, other), strict=True))
                source = torch.where(mine, items, source)
        return start, other, source


def moments_apart(places: int, least: int, most: int) -> Tensor:
    """List all ordered pairs of `places` starts that lie `least` to `most` frames apart: (P, 2) int64.

    The list is its own mirror image, so both columns hold every start equally often.
    """
    starts = torch.arange(places)
    apart = (starts[:, None] - starts).abs()
    return ((apart >= least) & (apart <= most)).nonzero()


def _cut(x: Tensor, rows: Tensor, starts: Tensor, frames: int, window: int) -> Tensor:
    """Cut (M, C, frames, *S), or its sound, out of row `rows[m]` of windows (N, C, window, *S) at `starts[m]`.

    One gather over rows and time: no window is copied to be cut.
    """
    if x.ndim == 3:
        starts, frames = span(starts, frames, window, x.shape[-1])
    steps = starts[:, None] + torch.arange(frames, device=x.device)
    cut: Tensor = x[rows[:, None], :, steps].movedim(1, 2)
    return cut


def _distances(pairs: Tensor) -> Tensor:
    """Measure how far apart the two embeddings of each pair (M, 2, D) lie; of equal ones no gradient comes."""
    pairs = pairs.float()
    distances: Tensor = torch.linalg.vector_norm(pairs[:, 0] - pairs[:, 1], dim=1)
    return distances


def _layers(inputs: int, width: int, outputs: int, std: float) -> nn.Sequential:
    """Make a head of one hidden layer whose last layer is small."""
    last = nn.Linear(width, outputs)
    nn.init.normal_(last.weight, std=std)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), last)


def _relation(item: int, aligned: bool, shift: int, source: int) -> str:
    if aligned:
        return "aligned"
    if source != item:
        return f"of item {source + 1}"
    return f"{abs(shift)} frames {'later' if shift > 0 else 'earlier'}" if shift else "the same moment again"


def _check(
    frames: int, loss: str, stages: dict[int, dict[str, float]], gap: int, overlap: int, margin: float, width: int
) -> None:
    """Raise a ValueError that names what is out of its range."""
    if loss not in ("bce", "contrastive"):
        raise ValueError(f'Alignment: loss is {loss!r}; choose "bce" or "contrastive"')
    if frames < 1 or gap < 0 or width < 1 or not margin > 0:
        raise ValueError(
            f"Alignment: frames={frames}, gap={gap}, width={width}, margin={margin}; give at least 1 frame, a gap of 0 "
            "or more, a width of at least 1 and a positive margin"
        )
    for epoch, mix in stages.items():
        if epoch < 0 or not mix.keys() <= set(KINDS) or min(mix.values(), default=-1) < 0:
            raise ValueError(
                f"Alignment: negatives from epoch {epoch} on are {mix}; give shares of {', '.join(KINDS)}, from "
                "epochs of 0 or more"
            )
        if abs(sum(mix.values()) - 1) > 1e-6:
            raise ValueError(
                f"Alignment: the shares from epoch {epoch} on, {mix}, add up to {sum(mix.values())}, not 1"
            )
        if mix.get("super_hard") and not 1 <= overlap < frames:
            raise ValueError(
                f"Alignment: overlap is {overlap} of {frames} frames; super-hard pairs share at least 1 and are moved "
                f"by at least 1: give 1 to {frames - 1}, and at least 2 frames"
            )
