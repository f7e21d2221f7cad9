"""What to change about a task's options where a control answers it, by what they are now."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pretext.core.types import Task


@dataclass(frozen=True)
class Remedy:
    """What to change about a task's option.

    Args:
        text: says it; "{now}" stands for the option's present value.
        done: tells by the present value whether it is so already.
        then: what to say where it is.

    """

    text: str
    done: Callable[[Any], bool] = lambda value: False
    then: str = ""

    def of(self, value: object) -> str:
        """Say it of the present value."""
        now = list(value) if isinstance(value, tuple) else value
        return (self.then if self.done(value) else self.text).format(now=now)


def changes(task: Task, options: Mapping[str, Remedy]) -> list[str]:
    """Say what to change of those options that a task has ("cut.gap": `gap` of its `cut`)."""
    inner = task
    while isinstance(within := getattr(inner, "task", None), Task):  # of an adapter
        inner = within
    found = ((remedy, _value(inner, path)) for path, remedy in options.items())
    return [remedy.of(value) for remedy, value in found if value is not _MISSING]


_MISSING = object()


def _value(task: Task, path: str) -> object:
    """Find what an option of a task is now; `_MISSING` where it has none of that name, or keeps it elsewhere."""
    name, _, inside = path.partition(".")
    if name not in inspect.signature(type(task).__init__).parameters:
        return _MISSING
    value = getattr(task, name, _MISSING)
    return getattr(value, inside, _MISSING) if inside else value


def _given(value: object) -> bool:
    return value is not None


def _all(share: float) -> bool:
    return share >= 1


TRIM = {
    "trim": Remedy(
        "silence more of both ends (trim, now {now})",
        done=lambda share: share == 0,
        then="silence both ends of sounds (trim), crop the fades of clips",
    )
}
APART = {
    "gap": Remedy("raise gap (now {now})"),
    "negatives.kinds": Remedy(
        "draw hard negatives (negatives.kinds, now {now})",
        done=lambda kinds: kinds != "easy",
        then="negatives are hard already (negatives.kinds): raise negatives.gap",
    ),
}
EQUAL = {
    "equalise": Remedy(
        "equalise the clips (equalise)",
        done=bool,
        then="clips are equalised already (equalise): what is left may be order itself; read it beside the others",
    )
}
_MOVES = "the grid moves already ({0}): let it move further (a smaller {0}, now {{now}})"
PLACES = {
    "extent": Remedy("let the grid move (extent [0.5, 0.75])", done=_given, then=_MOVES.format("extent")),
    "cut.extent": Remedy("let the grid move (cut.extent [0.5, 0.75])", done=_given, then=_MOVES.format("cut.extent")),
    "cut.gap": Remedy("raise cut.gap (now {now})"),
    "grey": Remedy("see grey more often (grey, now {now})", done=_all, then="all is grey already (grey)"),
    "span": Remedy("draw spans of more lengths (span, now {now})"),
    **TRIM,
    **APART,
}
EDGES = {
    "gap": Remedy("raise gap (now {now})"),
    "jitter": Remedy("raise jitter (now {now})"),
    "cut.gap": Remedy("raise cut.gap (now {now})"),
    "cut.jitter": Remedy("raise cut.jitter (now {now})"),
    **TRIM,
}
_HUE = "tiles have one mean and deviation already ({}), over all channels together, and keep their hue: "
COLOURS = {
    "normalise": Remedy(
        "give tiles one mean and deviation (normalise)",
        done=bool,
        then=_HUE.format("normalise") + "take colours away (colour: grey)",
    ),
    "cut.standardise": Remedy(
        "give each channel of a tile one mean and deviation (cut.standardise: per_channel, now {now})",
        done=lambda value: value is True,
        then=_HUE.format("cut.standardise") + "set cut.standardise: per_channel, or see grey more often (cut.grey)",
    ),
    "views": Remedy("jitter colours more (views.brightness, contrast, saturation, hue)"),
    **EQUAL,
}
LENS = {
    "colour": Remedy(
        "drop colours (colour: drop)",
        done=lambda colour: colour in ("drop", "grey"),
        then="colours are gone already (colour: {now}), and fringes with them: raise gap",
    ),
    "cut.channel_jitter": Remedy("let channels wander further (cut.channel_jitter, now {now})"),
    "cut.grey": Remedy("see grey more often (cut.grey, now {now})", done=_all, then="all is grey already (cut.grey)"),
    "channel_splitting": Remedy(
        "show single channels (channel_splitting)",
        done=bool,
        then="single channels are shown already (channel_splitting), and no fringe in them: raise gap",
    ),
    "grey": Remedy("see grey more often (grey, now {now})", done=_all, then="all is grey already (grey)"),
}
BLUR = {
    "pixelate": Remedy("pixelate more (pixelate, now {now})", done=_all, then="all is pixelated already (pixelate)")
}
