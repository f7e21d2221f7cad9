"""Self-supervised pretext tasks on one shared backbone, and an honest look at what it learned."""

from pretext.augment import Augment
from pretext.backbones import NIN, AlexNet, TorchVision
from pretext.module import Pretrainer
from pretext.run import load
from pretext.tasks import Jigsaw, Rotation
from pretext.types import Backbone, Features, Grade, Panel, Puzzle, Task, axis

__version__ = "0.1.0"

__all__ = [
    "NIN",
    "AlexNet",
    "Augment",
    "Backbone",
    "Features",
    "Grade",
    "Jigsaw",
    "Panel",
    "Pretrainer",
    "Puzzle",
    "Rotation",
    "Task",
    "TorchVision",
    "axis",
    "load",
]
