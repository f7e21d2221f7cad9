"""Networks that turn unnormalised input into features of every stage."""

from pretext.backbones.alexnet import AlexNet
from pretext.backbones.audio import Sound
from pretext.backbones.cells import Cells
from pretext.backbones.frames import Frames
from pretext.backbones.image import TorchVision
from pretext.backbones.mlp import MLP
from pretext.backbones.multimodal import MultiModal
from pretext.backbones.nin import NIN
from pretext.backbones.r2plus1d import R2Plus1D
from pretext.backbones.resnet import ResNet
from pretext.backbones.search_cells import SearchCells
from pretext.backbones.split import Split
from pretext.backbones.text import Text
from pretext.backbones.timm import Timm
from pretext.backbones.video import TorchVideo
from pretext.backbones.wrapped import Wrapped

__all__ = [
    "MLP",
    "NIN",
    "AlexNet",
    "Cells",
    "Frames",
    "MultiModal",
    "R2Plus1D",
    "ResNet",
    "SearchCells",
    "Sound",
    "Split",
    "Text",
    "Timm",
    "TorchVideo",
    "TorchVision",
    "Wrapped",
]
