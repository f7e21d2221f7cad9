"""Self-supervised pretext tasks on one shared backbone, and an honest look at what it learned."""

import lazy_loader

from pretext import _moved, _shown

__version__ = "0.1.0"

# The names of `__init__.pyi`, each imported when it is first used: torch and Lightning take seconds, which
# `pretext --help` should not.
_found, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> object:
    try:
        return _found(name)
    except AttributeError:
        if name in __all__ or name.startswith("_"):
            raise
        from difflib import get_close_matches

        like = get_close_matches(name, __all__, n=1)
        meant = f"; did you mean {like[0]}?" if like else ""
        raise AttributeError(f"module 'pretext' has no attribute {name!r}{meant}", name=name) from None


_moved.install()
_shown.attach()
