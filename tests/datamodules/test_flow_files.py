import sys

import numpy as np
import pytest

from datamodules import DataError
from datamodules.videos.flow import central

pytest.importorskip("cv2")
SIDE = 64


def texture(side=SIDE, seed=0):
    """A smooth pattern, as a function of continuous coordinates."""
    rng = np.random.default_rng(seed)
    waves = rng.uniform(-0.5, 0.5, (12, 2)), rng.uniform(0, 2 * np.pi, 12)

    def at(dx, dy):
        y, x = np.mgrid[:side, :side].astype(float)
        phase = waves[0][:, 0, None, None] * (x - dx) + waves[0][:, 1, None, None] * (y - dy) + waves[1][:, None, None]
        return (128 + 9 * np.cos(phase).sum(0)).clip(0, 255).round().astype(np.uint8)

    return at


def displacement(flow):
    return (flow.astype(float) - 128) / 127 * SIDE / 8


@pytest.mark.parametrize("shift", [(1.0, 0.0), (0.0, -2.0), (-1.5, 1.0), (3.0, 2.0)])
def test_a_moving_pattern_has_the_flow_of_its_shift(shift):
    at = texture()
    flow = displacement(central(np.stack([at(k * shift[0], k * shift[1]) for k in range(4)])))
    middle = np.median(flow[:, :, 12:-12, 12:-12], (1, 2, 3))
    assert np.abs(middle - shift).max() < 0.15  # a byte tells 0.06 px apart


def test_the_flow_of_a_reversed_clip_is_the_reversed_flow_turned_round_bit_for_bit():
    rng = np.random.default_rng(0)
    still = rng.integers(0, 256, (6, SIDE, SIDE), dtype=np.uint8)
    moving = np.stack([texture(seed=1)(k * k, 3 * k) for k in range(6)])
    for clip in (still, moving):
        flow = central(clip)
        assert flow.std() > 1
        assert np.array_equal(central(clip[::-1]), 256 - flow[:, ::-1].astype(int))
        assert flow.min() >= 1


def test_nothing_moving_is_128_everywhere_and_too_fast_a_motion_is_clipped():
    still = np.repeat(texture()(0, 0)[None], 3, 0)
    assert (central(still) == 128).all()
    fast = central(np.stack([texture(seed=2)(20 * k, 0) for k in range(3)]))
    assert fast.min() >= 1  # 0 has no opposite


def test_each_frame_but_the_first_and_last_has_its_own_flow_whatever_the_others():
    clip = np.stack([texture()(k * k / 3, k) for k in range(7)])
    flow = central(clip)
    assert flow.shape == (2, 5, SIDE, SIDE)
    for t in range(5):
        assert np.array_equal(central(clip[t : t + 3])[:, 0], flow[:, t])


def test_what_is_too_small_or_too_short_is_refused():
    for shape in ((2, SIDE, SIDE), (3, 8, SIDE)):
        with pytest.raises(DataError, match="it takes 3 frames of 12 x 12"):
            central(np.zeros(shape, np.uint8))


def test_without_opencv_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "cv2", None)
    from datamodules.videos.clips import Clips

    with pytest.raises(ImportError, match=r"pip install 'pretext-tasks\[flow\]'"):
        Clips(tmp_path, modalities=("flow",))
