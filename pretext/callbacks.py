"""The callbacks under the names that configs give them, such as `pretext.callbacks.Online`."""

from pretext.training.callbacks import *  # noqa: F403  (its names are written once, there)
from pretext.training.callbacks import __all__ as __all__

__path__: list[str] = []  # as a package has one: `pretext.callbacks.online` and others are found in `pretext._moved`
