"""Data sets for training and probing, each a LightningDataModule that keeps the law of `datamodules.base`."""

from datamodules.base import DataError, DataModule
from datamodules.cifar import CIFAR10
from datamodules.digits import Digits
from datamodules.images import ImageFolder, Photos

__all__ = ["CIFAR10", "DataError", "DataModule", "Digits", "ImageFolder", "Photos"]
