"""Data modules as users and this project have them: flat options, grouped ones, and heirs of both."""

from dataclasses import dataclass

from datamodules import Digits


@dataclass(frozen=True)
class Reading:
    workers: int = 2
    cache: str | None = "disk"


@dataclass(frozen=True)
class Split:
    val: float = 0.1
    fold: int | None = None


class Grouped(Digits):
    """Groups what it repeats."""

    def __init__(self, size: int = 8, reading: Reading = Reading(), split: Split = Split(), seed: int = 0) -> None:
        super().__init__(size=size, batch_size=64, seed=seed)
        self.reading, self.split = reading, split


class Heir(Grouped):
    """Hands on whatever it does not know."""

    def __init__(self, mirror: bool = False, **options) -> None:
        super().__init__(**options)
        self.mirror = mirror


class Flat(Digits):
    """A user's own, whose options have the same names and no groups."""

    def __init__(self, workers: int = 3, val: float = 0.2, optimizer: str = "none", seed: int = 0) -> None:
        super().__init__(size=8, batch_size=64, seed=seed)
        self.workers, self.own, self.optimizer = workers, val, optimizer


class Twice(Digits):
    """Two groups have an option of one name, so that nobody can say which is meant."""

    def __init__(self, train: Reading = Reading(), test: Reading = Reading(), seed: int = 0) -> None:
        super().__init__(size=8, batch_size=64, seed=seed)
