"""Arguments of tasks by the names that they had in release 0.1, for configs and runs made then.

And what a task asked before it had an option whose default asks otherwise, for runs that go on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

Args = dict[str, Any]
COLOURS, HALVES = "pretext.nn.colour_targets", "pretext.nn.split_targets"
READOUTS, EMBEDDINGS = "pretext.nn.alignment_readouts", "pretext.nn.embedding_losses"
TEACHERS = "pretext.nn.teachers"


def _part(old: Args, switch: str, parts: Mapping[str, tuple[str, tuple[str, ...]]], into: str) -> Args:
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


def alignment(old: Args) -> Args:
    """`loss` was "bce" or "contrastive", `negatives` a kind or the shares of kinds."""
    parts = {"bce": (f"{READOUTS}.Binary", ("width",)), "contrastive": (f"{READOUTS}.Contrastive", ("width", "margin"))}
    new = _part(old, "loss", parts, "readout")
    kinds = new.get("negatives")
    ours = {"kinds", "curriculum", "gap", "overlap"}
    if isinstance(kinds, str) or (isinstance(kinds, dict) and not kinds.keys() <= ours):
        kinds = {"kinds": kinds}
    moved = {name: new[name] for name in ("curriculum", "gap", "overlap") if name in new}
    rest = {name: value for name, value in new.items() if name not in ours and name != "negatives"}
    return rest | ({"negatives": (kinds or {}) | moved} if kinds or moved else {})


def distillation(old: Args) -> Args:
    """`kind` was "joint", "frozen" or "momentum"."""
    parts = {"frozen": (f"{TEACHERS}.Frozen", ()), "momentum": (f"{TEACHERS}.Momentum", ("momentum",))}
    if old.get("kind", "joint") != "joint" or old.keys() == {"momentum"}:
        return _part({"kind": "momentum"} | old, "kind", parts, "copy")
    new = {name: value for name, value in old.items() if name not in ("kind", "momentum")}
    return new | ({"copy": None} if "kind" in old else {})


def embed(old: Args) -> Args:
    """`loss` was "margin", of squared distances, or "nce"."""
    parts = {"margin": (f"{EMBEDDINGS}.MaxMargin", ("margin",)), "nce": (f"{EMBEDDINGS}.InfoNCE", ("temperature",))}
    new = _part(old, "loss", parts, "loss")
    if new is not old and new["loss"]["class_path"].endswith(".MaxMargin"):
        new["loss"]["init_args"]["squared"] = True
    return new


RULES: dict[str, Callable[[Args], Args]] = {
    "Alignment": alignment,
    "Colorization": colorization,
    "Distillation": distillation,
    "Embed": embed,
    "SplitBrain": split_brain,
}
"""Name of a task's class -> from its old arguments to those of today; `pretext.training.renamed` applies them."""


class Then(NamedTuple):
    """What a task asked before it had some options."""

    named: frozenset[str]
    """Options that it had already. Who names them all is a run, which writes down every option; a user names a few."""
    added: Args
    """Options that it has got since, with the values at which it asks what it asked then."""


THEN: dict[str, Then] = {
    "ArrowOfTime": Then(frozenset({"frames", "directions"}), {"trim": 0.0}),
    "ClipOrder": Then(frozenset({"pieces", "frames", "gap", "channel_splitting", "jitter"}), {"grouping": "time"}),
    "Jigsaw": Then(
        frozenset({"grid", "permutations", "width", "hidden", "puzzles", "view", "foreign"}), {"cut": {"extent": None}}
    ),
    "RelativePosition": Then(
        frozenset({"gap", "jitter", "pairs", "colour", "normalise", "pixelate", "hidden"}), {"extent": None}
    ),
    "FuturePrediction": Then(frozenset({"frames", "future", "channels", "shrink", "width"}), {"skip": 0}),
}
"""Name of a task's class -> what it asked before; `pretext.training.renamed` applies them after `RULES`."""


def as_then(name: str, args: Args) -> Args:
    """Add to the arguments of a task, if a run wrote them, options that did not exist then."""
    then = THEN.get(name)
    if then is None or not then.named <= args.keys():
        return args
    new = then.added | args
    for group, options in then.added.items():
        if isinstance(options, dict) and isinstance(new[group], dict):
            new[group] = options | new[group]
    return new
