"""Networks that turn unnormalised input into features of every stage."""

from pretext.backbones.alexnet import AlexNet
from pretext.backbones.image import TorchVision
from pretext.backbones.nin import NIN

__all__ = ["NIN", "AlexNet", "TorchVision"]
