"""How far two right computations may lie apart: a bound from the arithmetic, where a processor is free to choose."""

import math

import torch

SAFE = 4  # a rounding is uniform in half an eps either way: 0.29 eps, and 0.41 between two. So ten standard deviations


def rounding(magnitude, operations=1, dtype=torch.float32):
    """Bound the difference of two results that were computed in another order, or by other instructions.

    Each of n operations rounds its result by at most half an eps. Those errors are as often up as down, so that n of
    them add up to sqrt(n), not to n: Higham and Mary, A new approach to probabilistic rounding error analysis, 2019.

    Args:
        magnitude: of the largest number that is rounded on the way, times how much of its error reaches the result.
            So 1 for a mean of pixels, and not the magnitude of the result, which may be a small difference of large
            numbers.
        operations: one for each product, sum or function in a chain, and one for each term of a sum.
        dtype: in which the operations are rounded.

    """
    return SAFE * math.sqrt(operations) * torch.finfo(dtype).eps * float(magnitude)


# a = 500 (f(X) - f(Y)) with f up to 1. Ten operations make f, two of them powers: x^p is 2^(p log2 x). Where sRGB's
# curve begins, p log2 x is 8, and its rounding is one of 8 ln 2 in x^p, of which the cube root takes a third.
LAB = rounding(500, 10 + (8 * math.log(2) / 3) ** 2 + 3)

# A band may be 32 dB (40 times) below the loudest pitch, whose rounding it shares, and power doubles it. A Fourier
# transform of 400 samples has 9 stages of 2 operations; windows, squares and sums take 14.
DECIBELS = rounding(10 / math.log(10) * 2 * 40, 32)

NETWORK = 50 * 4608  # operations of a ResNet-50: 50 layers, and the longest sum in one of them, 512 channels of 3 x 3


def assert_rounded(actual, expected, operations, magnitude=None, dtype=torch.float32):
    """Demand that two tensors (or trees of them) differ by their rounding only; `magnitude`: their largest number."""
    if isinstance(expected, torch.Tensor):
        largest = expected.detach().abs().max() if magnitude is None else magnitude
        torch.testing.assert_close(actual, expected, rtol=0, atol=rounding(largest, operations, dtype))
        return
    keys = expected if isinstance(expected, dict) else range(len(expected))
    assert len(actual) == len(expected)
    for key in keys:
        assert_rounded(actual[key], expected[key], operations, magnitude, dtype)
