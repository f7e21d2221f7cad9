"""The rule for files that cannot be used: each is told once with its cause, and too many of them stop the pass."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import final

from datamodules.errors import DataError

_LISTED = 20  # files and causes that an error lists


class InPart(str):
    """What is told of a file that is used, but not all of it: such a file is not bad."""

    __slots__ = ()


@final
class BadFiles:
    """The bad files of one source that are known so far.

    Args:
        root: the folder that the names begin in, for messages.
        names: of all files, by position.
        max_bad: stop when more than this share of all files is bad.
        advice: of some causes, what to do about them besides the general.
        on_bad: is told the names of newly found bad files, each with its cause.

    """

    def __init__(
        self,
        root: Path,
        names: Sequence[str],
        max_bad: float,
        advice: Mapping[str, str],
        on_bad: Callable[[dict[str, str]], None],
    ) -> None:
        self.root, self.names, self.max_bad, self.advice, self.on_bad = root, names, max_bad, advice, on_bad
        self.causes: dict[int, str] = {}
        self._in_part: set[int] = set()

    def __contains__(self, position: int) -> bool:
        return position in self.causes

    def note(self, causes: Mapping[int, str]) -> None:
        """Remember bad files by position and tell of those that are new, and of those that are used in part.

        Raises:
            DataError: there are too many of them by now.

        """
        in_part = {k: cause for k, cause in causes.items() if isinstance(cause, InPart) and k not in self._in_part}
        if in_part:
            self._in_part |= in_part.keys()
            self.on_bad({self.names[position]: str(cause) for position, cause in in_part.items()})
        new = {k: cause for k, cause in causes.items() if not isinstance(cause, InPart) and k not in self.causes}
        if not new:
            return
        self.causes.update(new)
        self.on_bad({self.names[position]: cause for position, cause in new.items()})
        if len(self.causes) > self.max_bad * len(self.names):
            raise DataError(
                f"at least {len(self.causes)} of {len(self.names)} files in {self.root} cannot be used, more than "
                f"max_bad={self.max_bad:g} of them; {self._what_to_do()}:{self._list()}"
            )

    def none_left(self, pool: int) -> DataError:
        """Make the error for a pool of so many files that are all bad."""
        return DataError(f"none of {pool} files in {self.root} can be used; repair or replace them:{self._list()}")

    def _what_to_do(self) -> str:
        advice = dict.fromkeys(self.advice[kind] for kind in self._kinds() if kind in self.advice)
        return ", ".join([*advice, "repair or remove them, or raise max_bad"])

    def _list(self) -> str:
        """Count the kinds of causes where there are several, and list some of the files."""
        kinds = self._kinds()
        several = kinds.most_common(_LISTED) if len(kinds) > 1 else []
        counts = [f"\n  {count} x {kind}" for kind, count in several]
        files = [f"\n  {self.names[position]}: {cause}" for position, cause in sorted(self.causes.items())]
        more = [f"\n  and {len(files) - _LISTED} more"] if len(files) > _LISTED else []
        return "".join(counts + files[:_LISTED] + more)

    def _kinds(self) -> Counter[str]:
        """Count the causes, without what they say of a single file."""
        return Counter(cause.split(":")[0] for cause in self.causes.values())


def cause_of(error: Exception) -> str:
    """Say in one line what went wrong with a file, without the decoder's own source position."""
    text = str(getattr(error, "strerror", None) or error or type(error).__name__).splitlines()[0]
    return re.sub(r"^.*\.cpp:\d+, ", "", text)
