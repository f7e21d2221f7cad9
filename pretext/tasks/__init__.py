"""Pretext tasks: one paper, one file, one class."""

from pretext.tasks.alignment import Alignment
from pretext.tasks.arrow_of_time import ArrowOfTime
from pretext.tasks.clip_order import ClipOrder
from pretext.tasks.colorization import Colorization
from pretext.tasks.contrast import Contrast
from pretext.tasks.counting import Counting
from pretext.tasks.cross_modal_prediction import CrossModalPrediction
from pretext.tasks.distillation import Distillation
from pretext.tasks.embed import Embed
from pretext.tasks.future_prediction import FuturePrediction
from pretext.tasks.inpainting import Inpainting
from pretext.tasks.jigsaw import Jigsaw
from pretext.tasks.odd_one_out import OddOneOut
from pretext.tasks.on import On
from pretext.tasks.on_frames import OnFrames
from pretext.tasks.reconstruction import Reconstruction
from pretext.tasks.relative_position import RelativePosition
from pretext.tasks.rotation import Rotation
from pretext.tasks.shuffle_and_learn import ShuffleAndLearn
from pretext.tasks.split_brain import SplitBrain
from pretext.tasks.super_resolution import SuperResolution

__all__ = [
    "Alignment",
    "ArrowOfTime",
    "ClipOrder",
    "Colorization",
    "Contrast",
    "Counting",
    "CrossModalPrediction",
    "Distillation",
    "Embed",
    "FuturePrediction",
    "Inpainting",
    "Jigsaw",
    "OddOneOut",
    "On",
    "OnFrames",
    "Reconstruction",
    "RelativePosition",
    "Rotation",
    "ShuffleAndLearn",
    "SplitBrain",
    "SuperResolution",
]
