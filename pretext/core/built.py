"""What an object was built with: so a config can say in words what Python made."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import partial, wraps
from typing import Any


class Noted(partial[Any]):
    """What builds an object again. A copy of the object shares it; a pickle goes without arguments that none takes."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Noted:
        return self

    def __reduce__(self) -> Any:
        try:
            pickle.dumps((self.args, self.keywords))
        except (pickle.PicklingError, AttributeError, TypeError):  # such as a lambda
            return Noted, (self.func,)
        return super().__reduce__()


class Built:
    """Keeps in `built_with` what builds an object again: its class and the arguments that it was given.

    No constructor needs to do anything for it.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__init__" in vars(cls):
            setattr(cls, "__init__", _noting(vars(cls)["__init__"]))  # noqa: B010  # mypy refuses a plain assignment


def _noting(begin: Callable[..., None]) -> Callable[..., None]:
    """Let a constructor note its arguments first; that of a base class, which it calls, finds them noted."""

    @wraps(begin)
    def noting(self: Built, *args: Any, **options: Any) -> None:
        # Not a tuple or a dict: those are settings of a network, by which its features are cached.
        self.__dict__.setdefault("built_with", Noted(type(self), *args, **options))
        begin(self, *args, **options)

    return noting
