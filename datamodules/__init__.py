"""Data sets for training and probing, each a LightningDataModule that keeps the law of `datamodules.base`."""

from datamodules.base import DataError, DataModule
from datamodules.bouncing import Bouncing
from datamodules.cifar import CIFAR10
from datamodules.clips import Clips
from datamodules.digits import Digits
from datamodules.images import ImageFolder, Photos
from datamodules.sounds import Sounds

__all__ = ["CIFAR10", "Bouncing", "Clips", "DataError", "DataModule", "Digits", "ImageFolder", "Photos", "Sounds"]
