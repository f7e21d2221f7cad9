"""Pretext tasks: one paper, one file, one class."""

from pretext.tasks.colorization import Colorization
from pretext.tasks.contrast import Contrast
from pretext.tasks.counting import Counting
from pretext.tasks.inpainting import Inpainting
from pretext.tasks.jigsaw import Jigsaw
from pretext.tasks.relative_position import RelativePosition
from pretext.tasks.rotation import Rotation
from pretext.tasks.split_brain import SplitBrain
from pretext.tasks.super_resolution import SuperResolution

__all__ = [
    "Colorization",
    "Contrast",
    "Counting",
    "Inpainting",
    "Jigsaw",
    "RelativePosition",
    "Rotation",
    "SplitBrain",
    "SuperResolution",
]
