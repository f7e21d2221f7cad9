"""Small real image files, written for each test."""

import numpy as np
import pytest
from PIL import Image


def picture(number, height=20, width=28):
    """Draw a smooth picture that only `number` decides, (H, W, 3) uint8."""
    rng = np.random.default_rng(number)
    coarse = Image.fromarray(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BILINEAR))


@pytest.fixture
def photos(tmp_path):
    """Write `count` PNG files for each class of each split into `tmp_path/data`, and return that folder."""

    def write(count=10, classes=("cat", "dog"), splits=("train", "test")):
        root, number = tmp_path / "data", 0
        for split in splits:
            for name in classes:
                (root / split / name).mkdir(parents=True)
                for k in range(count):
                    number += 1
                    Image.fromarray(picture(number)).save(root / split / name / f"{k:03}.png")
        return root

    return write
