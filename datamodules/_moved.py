"""Modules by the names that they had in release 0.1; these go with the release after the next.

Configs, runs and plug-ins name classes by path. A path that has moved still works, and one line says what to write.
`datamodules.images` and `datamodules.sounds`, which were modules, are packages with the same classes.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

NEW = {
    "audio": "media.sound",
    "balls": "generated.balls",
    "bouncing": "generated.bouncing",
    "cifar": "images.cifar",
    "clip_cache": "videos.cache",
    "clip_files": "videos.windows",
    "clip_grid": "videos.strips",
    "clips": "videos.clips",
    "containers": "media.containers",
    "decode": "images.decode",
    "digits": "images.digits",
    "files": "images.canvases",
    "flow": "videos.flow",
    "pets": "images.pets",
    "sound_files": "sounds.windows",
    "squares": "media.squares",
    "video": "media.video",
    "video_layouts": "videos.layouts",
    "video_lists": "lists",
    "voc": "images.voc",
}
"""Old name -> new name, both inside `datamodules`."""


class Moved(MetaPathFinder):
    """Finds a module under its old name."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Answer for the old names alone."""
        package, _, old = fullname.partition(".")
        if package != "datamodules" or old not in NEW:
            return None
        return ModuleSpec(fullname, Alias(f"datamodules.{NEW[old]}"))


class Alias(Loader):
    """Loads the module that has the new name in place of the old one."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._spec: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the very module, so that its classes are the same under both names."""
        warnings.warn(f"{spec.name} is now {self.name}; the old name goes with a later release", FutureWarning, 2)
        module = import_module(self.name)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing, as the module is loaded already; it keeps the spec of its own name."""
        module.__spec__ = self._spec


def install() -> None:
    """Let Python find what has moved."""
    if not any(isinstance(finder, Moved) for finder in sys.meta_path):
        sys.meta_path.insert(0, Moved())
