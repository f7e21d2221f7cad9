"""A small labelled folder of real image files for tests."""

import numpy as np
from PIL import Image


def labelled_folder(root, count=10):
    """Write `count` JPEG files of 48 x 40 noise for each class and split, cats darker than dogs; return `root`."""
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for name, top in (("cat", 100), ("dog", 256)):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                noise = rng.integers(0, top, (48, 40, 3), dtype=np.uint8)
                Image.fromarray(noise).save(root / split / name / f"{i}.jpg")
    return root
