"""https://arxiv.org/abs/1609.04802 (Ledig et al.: SRResNet and SRGAN, CVPR 2017): what was there before shrinking?"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Generator, Tensor, nn

from pretext.backbones.pretrained.vgg import Layer, VGGFeatures
from pretext.core.errors import require, require_input
from pretext.core.ranks import mean
from pretext.core.types import Backbone, Features, Grade, Panel, Puzzle, Task, reads_images
from pretext.nn.adversarial import Discriminator, adversarial
from pretext.nn.heads import Hypercolumn, small
from pretext.ops.drawing import panels, rows
from pretext.ops.geometric import drawable
from pretext.ops.resample import KERNELS, resample, resample_any

COARSE = 2  # the head works at half the small image's sides, the resolution of most networks' first stage
START = 0.002  # size of the residual at the start, about half a grey level: the first prediction is the base
VGG_SCALE = 12.75  # the paper divides VGG's features by it, which makes their error as large as that of pixels
SMALLEST = 1e-6  # added to squared errors (its root to absolute ones): where bicubic is exact, 0 / 0 becomes 1


class SuperResolution(Task):
    """Enlarge a shrunk image to what it was, better than bicubic interpolation does.

    The backbone sees the small image only; the head reads all of its stages at half the small image's resolution,
    refines them by residual blocks as SRResNet does, spreads its channels over the pixels (pixel shuffle) and adds what
    it finds to the bicubic enlargement. It never works at the resolution of the result, as the paper's does: that took
    50 times the time of the backbone whose features are wanted. The method of shrinking is drawn anew at
    each step, or undoing that one filter would be enough to win (the filter alone: all are antialiased, and no JPEG
    artefacts are added). Side and borders of both images coincide (there is no
    shift of half a pixel to learn).

    The loss is the error over all pixels of the batch divided by that of the bicubic enlargement, so that 1 is what
    knowing nothing costs, whatever the images.

    The paper's perceptual and adversarial losses are optional. The first compares features of a VGG that was trained
    with labels, so that what is learnt here is no longer self-supervised. Compare such a run with supervised ones.

    Args:
        backbone: any that reads images as small as asked.
        scale: by how much a side shrinks, a power of two.
        width: channels of the head.
        blocks: how many residual blocks refine the features.
        pixel: squared ("l2") or absolute ("l1") error.
        adversarial: weight of -log D of a discriminator that tells enlarged images from real ones, beside the error not
            divided by bicubic's: 1e-3 in the paper; 0 builds none.
        vgg: a file with torchvision's weights of VGG19, which you have (nothing is downloaded). The error is then that
            of its features, squared and times 1 / 12.75^2 as in the paper, for images of 16 px and more.
        layer: which features of `vgg`: "relu5_4" (the paper's SRGAN) or "relu2_2".

    Raises:
        ValueError: the backbone does not read images, or an argument is out of its range; what `VGGFeatures` refuses.

    """

    def __init__(
        self,
        backbone: Backbone,
        scale: int = 2,
        width: int = 32,
        blocks: int = 1,
        pixel: Literal["l2", "l1"] = "l2",
        adversarial: float = 0.0,
        vgg: str | None = None,
        layer: Layer = "relu5_4",
    ) -> None:
        super().__init__()
        reads_images(backbone, self)
        require(scale >= 2 and scale & (scale - 1) == 0, self, f"{scale=}", "take a power of two, such as 2 or 4")
        require(width >= 1 and blocks >= 0, self, f"{width=}, {blocks=}", "take at least 1 channel and 0 blocks")
        require(pixel in ("l2", "l1"), self, f"{pixel=}", 'choose "l2" (squared) or "l1" (absolute) error')
        require(0 <= adversarial < math.inf, self, f"{adversarial=}", "take a weight of at least 0")
        self.scale, self.width, self.blocks, self.pixel = scale, width, blocks, pixel
        got = f"{vgg=}, {pixel=}"
        require(vgg is None or pixel == "l2", self, got, 'features are compared by squares: leave pixel at "l2"')
        self.adversarial = adversarial
        self.read = Hypercolumn(backbone.stages, width)
        last = small(nn.Conv2d(width, 3 * (COARSE * scale) ** 2, 3, padding=1), START / (9 * width) ** 0.5)
        refine = [_Block(width) for _ in range(blocks)]
        self.residual = nn.Sequential(*refine, last, nn.PixelShuffle(COARSE * scale))
        self.discriminator = Discriminator() if adversarial else None
        self.vgg = None if vgg is None else VGGFeatures(vgg, layer)

    def pose(self, x: Tensor, rng: Generator) -> Puzzle:
        """Shrink images (N, 3, H, W): the question, also given, is (N, 3, H/scale, W/scale).

        The answer is the images themselves and the bicubic enlargements to beat, both (N, 3, H, W).

        Raises:
            ValueError: a side of `x` is not divisible by 2 `scale`.

        """
        step = COARSE * self.scale
        fits = x.ndim == 4 and x.shape[-2] % step == x.shape[-1] % step == 0
        wanted = f"images (N, 3, H, W) whose sides are multiples of {step}"
        require_input(fits, self, wanted, x, "crop them first (Augment's crop, or the data module's canvas)")
        kernel = torch.randint(len(KERNELS), (), generator=rng, device=x.device)
        small = resample_any(x, x.shape[-2] // self.scale, x.shape[-1] // self.scale, kernel).clamp(0, 1)
        return Puzzle(small, (x.clone(), self._base(small)), small.clone())

    def solve(self, features: Features, given: Tensor) -> Tensor:
        """Enlarge the given images (N, 3, h, w) to (N, 3, scale * h, scale * w); values may leave [0, 1]."""
        height, width = given.shape[-2:]
        residual: Tensor = self.residual(self.read(features.stages, (height // COARSE, width // COARSE)))
        return self._base(given) + residual

    def grade(self, prediction: Tensor, answer: tuple[Tensor, Tensor]) -> Grade:
        """Grade images by their error in units of the bicubic one's; "psnr_gain" is in dB over bicubic.

        Where there is an adversary, "error" is the loss without its part.
        """
        truth, base = (tensor.float() for tensor in answer)
        made = prediction.float()
        (error, blind), smallest = self._errors(made, base, truth), SMALLEST if self.pixel == "l2" else SMALLEST**0.5
        loss = _ratio(error, blind, smallest)
        squares = [mean((images - truth).square()) for images in (made.detach(), base)]
        scores = {"psnr_gain": -10 * _ratio(squares[0], squares[1], SMALLEST).log10()}
        if self.discriminator is None:
            return Grade(loss, scores)
        game = adversarial(self.discriminator, truth, made, self.adversarial / (blind + smallest))
        return Grade(loss + game.loss, {**scores, "error": loss.detach(), **game.scores})

    def chance(self) -> Grade:
        """Grade the bicubic enlargement, by an undecided discriminator where there is one."""
        scores = {"psnr_gain": torch.tensor(0.0)}
        if self.discriminator is None:
            return Grade(torch.tensor(1.0), scores)
        undecided = {"error": torch.tensor(1.0), "discriminator": torch.tensor(0.5)}
        return Grade(torch.tensor(1 + 2 * math.log(2)), {**scores, **undecided})

    def draw(self, puzzle: Puzzle, prediction: Tensor | None) -> list[list[Panel]]:
        """Draw the small image in large pixels, what it was, and the prediction with its gain over bicubic."""
        large = drawable(puzzle.question).repeat_interleave(self.scale, -1).repeat_interleave(self.scale, -2)
        truth, base = (drawable(images) for images in puzzle.answer)
        columns = [panels(large, f"{self.scale} times as large?"), panels(truth, "answer")]
        if prediction is not None:
            made = drawable(prediction)
            errors = [(images - truth).square().mean((1, 2, 3)) for images in (made, base)]
            gains = -10 * _ratio(errors[0], errors[1], SMALLEST).log10()
            captions = [f"prediction: {gain:+.2f} dB over bicubic" for gain in gains.tolist()]
            columns.append(panels(made, captions, gains > 0))
        return rows(*columns)

    def extra_repr(self) -> str:
        return (
            f"scale={self.scale}, width={self.width}, blocks={self.blocks}, pixel={self.pixel!r}, "
            f"adversarial={self.adversarial}"
        )

    def _errors(self, made: Tensor, base: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        """Tell how far what was made and the bicubic enlargement are from the truth, in pixels or in features."""
        if self.vgg is not None:
            made, base, truth = (self.vgg(images) / VGG_SCALE for images in (made, base, truth))
        off, blind = made - truth, base - truth
        if self.pixel == "l1":
            return mean(off.abs()), mean(blind.abs())
        return mean(off.square()), mean(blind.square())

    def _base(self, small: Tensor) -> Tensor:
        """Enlarge by bicubic interpolation; clamped, so that clamping is nothing that a head can win by."""
        height, width = (side * self.scale for side in small.shape[-2:])
        return resample(small, height, width, "bicubic").clamp(0, 1)


class _Block(nn.Module):
    """Refine a map by two convolutions and a skip: SRResNet's residual block."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.PReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        refined: Tensor = x + self.body(x)
        return refined


def _ratio(error: Tensor, blind: Tensor, smallest: float) -> Tensor:
    """Divide an error by a blind guess's."""
    return (error + smallest) / (blind + smallest)
