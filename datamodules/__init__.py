"""Data sets for training and probing, each a LightningDataModule that keeps the law of `datamodules.base`."""

import lazy_loader

from datamodules import _moved

# The names of `__init__.pyi`, each imported when it is first used: video and Lightning take seconds.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

_moved.install()
