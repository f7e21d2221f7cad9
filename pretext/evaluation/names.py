"""What a probe measures unless told otherwise, for help texts too: nothing here needs torch."""

from __future__ import annotations

EVERY: tuple[str, ...] = ("knn", "linear", "svm", "quality", "low_label", "transferability", "regression", "few_shot")
EVERY += ("zero_shot", "retrieval")
"""The short names of this project's own protocols, in the order in which a row has their scores."""
DEFAULT = ("linear", "knn", "low_label", "quality")
"""What is measured unless told otherwise: what takes seconds. A linear SVM takes minutes on a large set.

Of numbers in place of classes, `regression` takes the place of `linear`.
"""
# Of a stage pooled to a grid. The published sizes come out: 64 x 12 x 12, 256 x 6 x 6, 512 x 4 x 4, 1024 x 3 x 3 and
# 2048 x 2 x 2 for a ResNet-50 (Goyal et al. 2019), 96 x 10 x 10, 256 x 6 x 6 and 384 x 5 x 5 for AlexNet (Zhang 2016).
DIMS = 9600
