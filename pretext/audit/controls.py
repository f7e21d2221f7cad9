"""Which controls there are, what each leaves of a puzzle, and what to change where it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from torch import Generator, Tensor

from pretext.audit import lenses, remedies, statistics
from pretext.audit.remedies import Remedy, changes
from pretext.core.tree import leaves
from pretext.core.types import Puzzle, Task, Tree

Loaded = Callable[[Tree, Generator], Tree]
"""Changes a batch as it is loaded: uint8 pictures and clips, int16 sounds, or a dict of these by modality."""
Posed = Callable[[Task, Puzzle, Generator], Puzzle]
"""Changes a puzzle's question."""
Describe = Callable[[Tensor], Tensor | None]
"""Measures what is shown: a row of numbers for each."""
INTACT = "intact"
OF_EACH = ("accuracy", "balanced_accuracy")  # scores of answers to questions about one item
OTHERS = 4  # items at least whose parts take an item's places: of one, whose parts belong together, a relation is left
GROUPS = 4  # batches at least of held-out items


@dataclass(frozen=True)
class Control:
    """One thing that may answer a puzzle.

    Args:
        name: in files and on the command line.
        letter: of the audit's list.
        title: of the table.
        loaded: what becomes of the data before a puzzle is posed.
        alike: what becomes of the data in scoring where a task compares items: its own content would tell which item a
            view is of, so that all of a batch have the same. In training they do not: batch norm would take the one
            colour out of a batch, which it cannot in scoring.
        posed: what becomes of the question.
        describe: the numbers that are shown instead of the question, by which no network sees it.
        against: what the data become instead for comparison; the network of the intact task is then scored on both.
        beside: what is left instead for comparison, and trained on as well: it keeps content as this does, without the
            trace. The share is then what this has beyond it.
        channels: of pictures, one of which it wants.
        content: whether it takes all content, which a task whose answer is made of pixels would not notice.
        kept: tells which share of what is shown it keeps, where that is not the same for all.
        advice: what to change.
        options: what to change, where a task has an option of that name ("cut.gap": of that name in its `cut`).

    """

    name: str
    letter: str
    title: str
    loaded: Loaded | None = None
    alike: Loaded | None = None
    posed: Posed | None = None
    describe: Describe | None = None
    against: Loaded | None = None
    beside: Control | None = None
    channels: tuple[int, ...] = ()
    content: bool = False
    kept: Callable[[Tree], float] | None = None
    advice: str = ""
    options: Mapping[str, Remedy] = field(default_factory=dict)

    @property
    def swaps(self) -> bool:
        """Whether it is no training of its own, but another look of the network of the intact task."""
        return self.against is not None

    def in_scoring(self, metric: str) -> Loaded | None:
        """Say what becomes of the data in scoring by a metric.

        An accuracy is of answers that each item has for itself. They are independent, which its interval takes them to
        be, where each has its own content too.
        """
        return self.loaded if self.alike is None or metric in OF_EACH else self.alike

    def refused(self, task: Task, x: Tree, puzzle: Puzzle, batch: int) -> str:
        """Say why it cannot be asked of a task, "" where it can.

        `x` is a loaded batch, the puzzle one posed of it, and `batch` the fewest items that are scored together.
        """
        if self.content and any(leaf.is_floating_point() for leaf in leaves(puzzle.answer)):
            return "its answer is made of what is shown"
        if self.posed is lenses.destroyed and task.destroyed(puzzle, _any(puzzle)) is None:
            return "the task has no control of its own"
        if self.posed is lenses.destroyed and batch <= OTHERS:
            others = f"parts of {OTHERS} other items at least, and batches have {batch} items"
            return f"{others}; hold out {GROUPS * (OTHERS + 1)} or more"
        if self.channels and not lenses.has_pictures(x, self.channels):
            return "no pictures of such channels"
        if self.describe and all(self.describe(leaf) is None for leaf in leaves(puzzle.question)):
            return "nothing of the kind is shown"
        return ""

    def change(self, task: Task) -> str:
        """Say what to change of a task, by what its options are now."""
        return "; ".join(changes(task, self.options) or [self.advice])


def _any(puzzle: Puzzle) -> Generator:
    return Generator(next(leaves(puzzle.question)).device).manual_seed(0)


def _same(lens: Loaded) -> Loaded:
    return partial(lenses.same, lens=lens)


_POSE = "what the pose leaves in any input tells: look at resampling, borders, fill values and fades"
_TRACES = "resize every picture by a kernel drawn at random, and crop at random"

CONTROLS = (
    Control(
        "nothing",
        "b",
        "nothing seen",
        posed=lenses.blank,
        describe=statistics.nothing,
        advice="what is given, the order of the batch or the commonest answer tells: draw answers alike",
    ),
    Control("noise", "b", "noise", loaded=lenses.noise, alike=_same(lenses.noise), content=True, advice=_POSE),
    Control(
        "constant",
        "b",
        "one colour",
        loaded=lenses.constant,
        alike=_same(lenses.constant),
        content=True,
        advice=_POSE,
    ),
    Control(
        "destroyed",
        "c",
        "relation destroyed",
        posed=lenses.destroyed,
        advice="the place of a part tells: draw places at random",
        options=remedies.PLACES,
    ),
    Control(
        "borders",
        "d",
        "borders alone",
        posed=lenses.borders,
        beside=Control("borders from within", "d", "borders from further in", posed=lenses.borders_from_within),
        kept=lenses.kept_by_borders,
        advice="crop without padding, and crop what a pose leaves at the edge",
        options=remedies.EDGES,
    ),
    Control(
        "moments",
        "e",
        "means and deviations",
        describe=statistics.moments,
        advice="jitter brightness, contrast and colours (Augment)",
        options=remedies.COLOURS,
    ),
    Control("blocks", "f", "JPEG block phase", describe=statistics.blocks, advice=_TRACES),
    Control(
        "blocks shifted",
        "f",
        "JPEG blocks shifted",
        loaded=partial(lenses.reencoded, shift=lenses.HALF_A_BLOCK),
        against=lenses.reencoded,
        channels=(1, 3),
        advice=_TRACES,
    ),
    Control(
        "spectrum",
        "f",
        "traces of resizing",
        describe=statistics.spectrum,
        advice="pixelate or blur a share of what is shown",
        options=remedies.BLUR,
    ),
    Control(
        "kernels swapped",
        "f",
        "kernels swapped",
        loaded=partial(lenses.resized, kernel="bilinear"),
        against=partial(lenses.resized, kernel="lanczos"),
        channels=(1, 3),
        advice=_TRACES,
    ),
    Control(
        "aberration",
        "g",
        "chromatic aberration",
        loaded=lenses.aberration,
        alike=_same(lenses.aberration),
        channels=(3,),
        content=True,
        advice="take colours away (Augment grey, or a task's own option)",
        options=remedies.LENS,
    ),
    Control(
        "energy",
        "h",
        "motion energy, loudness",
        describe=statistics.energy,
        advice="make all that is compared move alike, or be as loud",
        options={**remedies.EQUAL, **remedies.TRIM, **remedies.APART},
    ),
    Control(
        "stillness",
        "h",
        "stillness, silence",
        describe=statistics.stillness,
        advice="leave out what stands still or is silent",
        options={**remedies.EQUAL, **remedies.TRIM, **remedies.APART},
    ),
    Control(
        "fade",
        "h",
        "fades",
        describe=statistics.fade,
        advice="fade both ends alike, or cut them off",
        options={**remedies.TRIM, **remedies.APART},
    ),
)
