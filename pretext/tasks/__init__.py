"""Pretext tasks: one paper, one file, one class."""

from pretext.tasks.adapters.on import On
from pretext.tasks.adapters.on_frames import OnFrames
from pretext.tasks.image.autoencoding import Autoencoding
from pretext.tasks.image.colorization import Colorization
from pretext.tasks.image.contrast import Contrast
from pretext.tasks.image.counting import Counting
from pretext.tasks.image.denoising import Denoising
from pretext.tasks.image.edges import Edges
from pretext.tasks.image.inpainting import Inpainting
from pretext.tasks.image.jigsaw import Jigsaw
from pretext.tasks.image.keypoints import Keypoints
from pretext.tasks.image.relative_position import RelativePosition
from pretext.tasks.image.rotation import Rotation
from pretext.tasks.image.split_brain import SplitBrain
from pretext.tasks.image.super_resolution import SuperResolution
from pretext.tasks.image.vae import VAE
from pretext.tasks.multimodal.alignment import Alignment
from pretext.tasks.multimodal.cross_modal_prediction import CrossModalPrediction
from pretext.tasks.multimodal.distillation import Distillation
from pretext.tasks.multimodal.multimodal_embedding import Embed
from pretext.tasks.video.arrow_of_time import ArrowOfTime
from pretext.tasks.video.clip_order import ClipOrder
from pretext.tasks.video.future_prediction import FuturePrediction
from pretext.tasks.video.odd_one_out import OddOneOut
from pretext.tasks.video.reconstruction import Reconstruction
from pretext.tasks.video.shuffle_and_learn import ShuffleAndLearn

__all__ = [
    "VAE",
    "Alignment",
    "ArrowOfTime",
    "Autoencoding",
    "ClipOrder",
    "Colorization",
    "Contrast",
    "Counting",
    "CrossModalPrediction",
    "Denoising",
    "Distillation",
    "Edges",
    "Embed",
    "FuturePrediction",
    "Inpainting",
    "Jigsaw",
    "Keypoints",
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
