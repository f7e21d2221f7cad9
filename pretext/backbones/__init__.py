"""Networks that turn unnormalised input into features of every stage."""

from pretext.backbones.alexnet import AlexNet
from pretext.backbones.image import TorchVision
from pretext.backbones.nin import NIN
from pretext.backbones.split import Split

__all__ = ["NIN", "AlexNet", "Split", "TorchVision"]
