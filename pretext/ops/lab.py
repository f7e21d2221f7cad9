"""Colour: sRGB to CIE Lab and back, lightness alone, and the projection that hides chromatic aberration.

Colour tasks convert every batch, so this is a hot path. Each curve is written as one power of a clamped value plus a
clamped line, which needs no choice per pixel, has a finite gradient everywhere and takes half the time of `pow`; a
change of basis is one matrix product. Constants are those of the sRGB standard with six digits and D65 white, which
OpenCV, scikit-image and kornia share; with them greys are neutral to 0.005 only.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pretext.ops.constants import constant

Matrix = tuple[tuple[float, ...], ...]

XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
WHITE = (0.95047, 1.0, 1.08883)  # D65
LAB = ((0.0, 116.0, 0.0), (500.0, -500.0, 0.0), (0.0, 200.0, -200.0))  # from the cube roots of XYZ over white
OFFSET = 16.0  # subtracted from L
GAMMA, BLACK, STEEP, BIAS = 2.4, 0.04045, 12.92, 0.055  # sRGB's curve, linear up to BLACK
DARK, SLOPE = 0.008856, 7.787  # Lab's curve is linear up to DARK, with this slope
ABERRATION = (-1.0, 2.0, -1.0)  # green against red and blue: the axis along which lenses shift colours


def rgb_to_lab(x: Tensor) -> Tensor:
    """Convert sRGB (..., 3, H, W) in [0, 1] to CIE Lab: L in [0, 100], a in [-86.2, 98.3], b in [-107.9, 94.5].

    float32 whatever comes in. Differentiable, also at black.
    """
    lab = _mix(LAB, _root(_mix(_SEEN, _linear(x.float()))))
    lab.select(-3, 0).sub_(OFFSET)
    return lab


def lab_to_rgb(lab: Tensor) -> Tensor:
    """Convert CIE Lab (..., 3, H, W) to sRGB in [0, 1], float32; colours that no screen can show are clamped."""
    lab = lab.float()
    root = _mix(_UNLAB, lab).add_(OFFSET / LAB[0][1])
    edge = DARK ** (1 / 3)
    cubed = root.clamp(max=edge).sub_(edge).mul_(1 / SLOPE).add_(root.clamp(min=edge).pow(3))
    return _gamma(_mix(_UNSEEN, cubed)).clamp(0, 1)


def lightness(x: Tensor) -> Tensor:
    """Take L in [0, 100] alone of sRGB (..., 3, H, W) in [0, 1]: (..., 1, H, W), float32."""
    return _root(_mix(XYZ[1:2], _linear(x.float()))) * LAB[0][1] - OFFSET


def project_aberration(x: Tensor) -> Tensor:
    """Project RGB (..., 3, H, W) onto the plane that is blind to green against red and blue; greys stay as they are.

    What a lens shifts between its colours then cannot be measured: https://arxiv.org/abs/1505.05192, section 3.1.
    """
    return _mix(_BLIND, x.float()).to(x.dtype)


# In place wherever the backward pass does not need what is overwritten: it needs the input of log2 and the result of
# exp2, but neither the result of clamp nor that of log2. Fresh memory costs as much as the arithmetic.


def _linear(x: Tensor) -> Tensor:
    """Undo sRGB's curve."""
    power = _power(x.clamp(min=BLACK).add_(BIAS), GAMMA)
    return x.clamp(max=BLACK).sub_(BLACK).mul_(1 / STEEP).add_(power, alpha=(1 + BIAS) ** -GAMMA)


def _gamma(x: Tensor) -> Tensor:
    """Apply sRGB's curve."""
    black = BLACK / STEEP
    power = _power(x.clamp(min=black), 1 / GAMMA)
    return x.clamp(max=black).sub_(black).mul_(STEEP).sub_(BIAS).add_(power, alpha=1 + BIAS)


def _root(x: Tensor) -> Tensor:
    """Take the cube root, continued below DARK by a line."""
    power = _power(x.clamp(min=DARK), 1 / 3)
    return x.clamp(max=DARK).sub_(DARK).mul_(SLOPE).add_(power)


def _power(x: Tensor, exponent: float) -> Tensor:
    """Raise a positive tensor, which is overwritten unless it carries a gradient; half the time of `pow`."""
    logarithm = x.log2() if x.requires_grad else x.log2_()
    return logarithm.mul_(exponent).exp2_()


def _mix(matrix: Matrix, x: Tensor) -> Tensor:
    """Multiply the channels of (..., 3, H, W) by a matrix (R, 3), in full precision also under autocast."""
    with torch.autocast(x.device.type, enabled=False):
        mixed = torch.matmul(constant(matrix, x.device, x.dtype), x.flatten(-2))
    return mixed.reshape(*mixed.shape[:-1], *x.shape[-2:])


def _inverse(matrix: Matrix) -> Matrix:
    return _rows(torch.tensor(matrix, dtype=torch.float64).inverse())


def _rows(matrix: Tensor) -> Matrix:
    return tuple(tuple(row) for row in matrix.tolist())


_SEEN = tuple(tuple(weight / white for weight in row) for row, white in zip(XYZ, WHITE, strict=True))
_UNSEEN, _UNLAB = _inverse(_SEEN), _inverse(LAB)
_AWAY = torch.tensor(ABERRATION, dtype=torch.float64)
_BLIND = _rows(torch.eye(3, dtype=torch.float64) - _AWAY.outer(_AWAY) / _AWAY.dot(_AWAY))
