"""What a data module raises, and how it says so."""

from __future__ import annotations


class DataError(ValueError):
    """Something is wrong with the data or with how it was asked for; the message says what and what to do."""


def require(owner: object, sound: bool, got: str, wanted: str) -> None:
    """Raise unless what a data module got is sound.

    Raises:
        DataError: it is not; the message names the class.

    """
    if not sound:
        raise DataError(f"{type(owner).__name__} got {got}, but wants {wanted}")
