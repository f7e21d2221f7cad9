"""Pretext tasks: one paper, one file, one class."""

from pretext.tasks.jigsaw import Jigsaw
from pretext.tasks.rotation import Rotation

__all__ = ["Jigsaw", "Rotation"]
