"""RotNet on CIFAR-10 (https://arxiv.org/abs/1803.07728, table 1 and its text).

The classifiers' accuracies on blocks 1 to 4 are those of the paper's table; "rerun" is what a user of the authors' code
got. The authors keep the best of all epochs by its test accuracy; here the last epoch is judged.
"""

from __future__ import annotations

from pretext.benchmark.reproduce import Judge, Publication

BLOCKS = ("conv1", "conv2", "conv3", "conv4")
PAPER = dict(zip(BLOCKS, (85.07, 89.06, 86.21, 61.73), strict=True))
RERUN = {**dict(zip(BLOCKS, (84.65, 88.89, 85.88, 54.04), strict=True)), "rotation/accuracy": 93.65}

ROTNET = Publication(
    name="rotnet",
    title="RotNet on CIFAR-10, test accuracy in %",
    config="rotnet_cifar10.yaml",
    epochs=200,
    published={"rotation/accuracy": RERUN["rotation/accuracy"]},
    judges=(
        Judge("MLP", "rotnet_cifar10_mlp.yaml", 50, PAPER),
        Judge("convolutional", "rotnet_cifar10_conv.yaml", 100, {"conv2": 91.16}),
    ),
    notes="rotation: a user's rerun of the authors' code, whose MLP had 84.65 88.89 85.88 54.04; "
    "accept ± 1 on blocks 1 to 3, block 4 varies",
)
