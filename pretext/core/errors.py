"""One way to refuse: the message names who asks, what it got, what it wanted and what to do."""

from __future__ import annotations

from torch import Tensor


def require(ok: bool, asker: object, got: str, wanted: str) -> None:
    """Refuse an argument unless `ok`.

    Args:
        ok: whether the argument will do.
        asker: the object that refuses, or its name.
        got: the argument and its value, such as `f"{frames=}, {width=}"`.
        wanted: what to give instead.

    Raises:
        ValueError: "Asker: got; wanted".

    """
    if not ok:
        raise ValueError(f"{name_of(asker)}: {got}; {wanted}")


def require_count(asker: object, name: str, value: object, least: int = 1) -> None:
    """Refuse an argument unless it is a whole number, at least so large.

    Raises:
        ValueError: "Asker: name='2'; give a whole number from 1 on".

    """
    whole = isinstance(value, int) and not isinstance(value, bool) and value >= least
    require(whole, asker, f"{name}={value!r}", f"give a whole number, at least {least}")


def require_input(ok: bool, asker: object, wanted: str, x: Tensor, advice: str) -> None:
    """Refuse a tensor of data unless `ok`.

    Args:
        ok: whether its shape will do.
        asker: the object that refuses, or its name.
        wanted: what it reads, such as "square images (N, 3, S, S)".
        x: the tensor, whose shape the message tells.
        advice: what to do.

    Raises:
        ValueError: "Asker wants ..., got (2, 3, 8, 9); advice".

    """
    if not ok:
        raise ValueError(f"{name_of(asker)} wants {wanted}, got {tuple(x.shape)}; {advice}")


def described(value: object) -> str:
    """Say what kind of thing was given: "a Linear", "the class Linear"."""
    return f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"


def name_of(asker: object) -> str:
    """Name an object in a message: its class, or the string itself."""
    return asker if isinstance(asker, str) else type(asker).__name__
