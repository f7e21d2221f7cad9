"""https://arxiv.org/abs/2104.06490 (Zhang et al.: DatasetGAN, CVPR 2021): a few labels make a set without end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import one_hot

from pretext.core.built import Built
from pretext.core.errors import require
from pretext.views.latent.generator import LatentGenerator


class LabelledGenerator(Built, nn.Module):
    """A generator that also tells the class of what it draws, by a linear read-out of its own features.

    The read-out is ridge regression of the classes, centred, on the features of a few labelled latents, which are
    standardised; the class is the largest. Features are those that the generator tells (`features(latents)`, (N, F)),
    else the latents themselves. Given to `datamodules.Generated` it makes a labelled set without end. (The paper labels
    pixels; this labels pictures.)

    Args:
        generator: draws and decodes.
        latents: (N, D), those that somebody labelled; their pictures are `generator.decode(latents)`.
        labels: (N,), numbers of classes.
        classes: their names.
        ridge: how strongly the read-out is held back, in items.

    Raises:
        ValueError: labels and latents do not fit, a class has no sample, or the ridge is not positive.

    """

    mean: Tensor
    spread: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(
        self, generator: LatentGenerator, latents: Tensor, labels: Tensor, classes: Sequence[str], ridge: float = 1.0
    ) -> None:
        super().__init__()
        got = f"latents {tuple(latents.shape)} and labels {tuple(labels.shape)}"
        require(latents.ndim == 2 and labels.shape == latents.shape[:1], self, got, "give (N, D) and (N,)")
        require(ridge > 0, self, f"{ridge=}", "give a positive one, such as 1")
        missing = sorted(set(range(len(classes))) - set(labels.tolist()))
        said = f"no sample of {', '.join(classes[k] for k in missing)}"
        require(not missing, self, said, "label at least one of each class")
        require(int(labels.max()) < len(classes), self, f"label {int(labels.max())}", f"0 to {len(classes) - 1}")
        self.generator, self.classes = generator, list(classes)
        with torch.no_grad():
            features = self.features(latents)
            self.register_buffer("mean", features.mean(0))
            self.register_buffer("spread", features.std(0, correction=0).clamp(min=1e-6))
            weight, bias = ridge_readout((features - self.mean) / self.spread, labels, len(classes), ridge)
            self.register_buffer("weight", weight)
            self.register_buffer("bias", bias)

    def sample(self, count: int, generator: Generator) -> Tensor:
        """Draw latents (count, D)."""
        return self.generator.sample(count, generator)

    def decode(self, latents: Tensor) -> Tensor:
        """Make pictures (N, 3, H, W) in [0, 1]."""
        return self.generator.decode(latents)

    def features(self, latents: Tensor) -> Tensor:
        """Tell the features (N, F) that are read, float32."""
        own: Any = getattr(self.generator, "features", None)
        found: Tensor = latents if own is None else own(latents)
        return found.flatten(1).float()

    @torch.no_grad()
    def labels(self, latents: Tensor) -> Tensor:
        """Tell the class of each picture, (N,) int64."""
        standard = (self.features(latents) - self.mean) / self.spread
        return (standard @ self.weight + self.bias).argmax(1)

    def train(self, mode: bool = True) -> Self:
        return self  # a generator stays in evaluation mode


def ridge_readout(features: Tensor, labels: Tensor, classes: int, ridge: float) -> tuple[Tensor, Tensor]:
    """Solve ridge regression of one-hot classes on centred features (N, F): weights (F, K) and bias (K,), the means."""
    wanted = one_hot(labels, classes).double()
    bias = wanted.mean(0)
    x = features.double()
    if x.shape[1] <= len(x):
        eye = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        weight = torch.linalg.solve(x.mT @ x + ridge * eye, x.mT @ (wanted - bias))
    else:  # the same solution, from products of items
        eye = torch.eye(len(x), dtype=x.dtype, device=x.device)
        weight = x.mT @ torch.linalg.solve(x @ x.mT + ridge * eye, wanted - bias)
    return weight.float(), bias.float()
