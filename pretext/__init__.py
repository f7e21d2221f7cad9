"""Self-supervised pretext tasks on one shared backbone, and an honest look at what it learned."""

import lazy_loader

from pretext import _moved, _shown

__version__ = "0.1.0"

# The names of `__init__.pyi`, each imported when it is first used: torch and Lightning take seconds, which
# `pretext --help` should not.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

_moved.install()
_shown.attach()
