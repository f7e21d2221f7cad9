"""Arguments of tasks by the names that they had in release 0.1, for configs and runs made then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Args = dict[str, Any]
COLOURS, HALVES = "pretext.nn.colour_targets", "pretext.nn.split_targets"


def _part(old: Args, switch: str, parts: dict[str, tuple[str, tuple[str, ...]]], into: str) -> Args:
    """Turn a string that chose a behaviour, and the arguments that belonged to it, into a part with a class path.

    What is written as today stays. Arguments of a behaviour that was not chosen are left out: they had no effect. But
    where nothing else is given, as on a command line, an argument names the first behaviour that owns it.

    Args:
        old: the task's arguments.
        switch: the name of the string.
        parts: its values, the default first, each with the path of the part's class and the names of its arguments.
        into: the name of the argument that takes the part.

    """
    owned = old.keys() & {name for _, names in parts.values() for name in names}
    choice = str(old.get(switch, next(iter(parts))))
    if choice not in parts or not (switch in old or owned):
        return old
    if old.keys() == owned:
        choice = next(key for key, (_, names) in parts.items() if owned & set(names))
    path, names = parts[choice]
    rest = {name: value for name, value in old.items() if name != switch and name not in owned}
    return rest | {into: {"class_path": path, "init_args": {name: old[name] for name in names if name in old}}}


def colorization(old: Args) -> Args:
    """`target` was "classes" or "values"."""
    owned = ("neighbours", "rebalance", "temperature")
    parts = {"classes": (f"{COLOURS}.ColourClasses", owned), "values": (f"{COLOURS}.ColourValues", ())}
    return _part(old, "target", parts, "target")


def split_brain(old: Args) -> Args:
    """`target` was "classes" or "values"."""
    parts = {"classes": (f"{HALVES}.SplitClasses", ("neighbours",)), "values": (f"{HALVES}.SplitValues", ())}
    return _part(old, "target", parts, "target")


RULES: dict[str, Callable[[Args], Args]] = {
    "Colorization": colorization,
    "SplitBrain": split_brain,
}
"""Name of a task's class -> from its old arguments to those of today; `pretext.training.renamed` applies them."""
