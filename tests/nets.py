"""A real but tiny convolutional backbone for tests."""

from torch import nn

from pretext.core.types import Backbone, Features, Task


class TinyNet(Backbone):
    """Two strided convolutions with batch norm, 3 -> 8 -> 16 channels, for images of 4 px and more.

    It has batch norm, and stays in train mode unless a test says `eval()`, because that is what real nets do and how a
    batch's statistics could leak an answer. `norm=False` is for tests that compare passes over different batches.
    """

    axes = "hw"

    def __init__(self, width: int = 8, norm: bool = True, axes: str = "hw", dropout: float = 0.0):
        super().__init__()
        self.dim = 2 * width
        self.axes = axes
        self.stages = {"conv1": width, "conv2": 2 * width}
        self.conv1 = self._block(3, width, norm)
        self.conv2 = self._block(width, 2 * width, norm)
        self.dropout = nn.Dropout(dropout)

    @staticmethod
    def _block(inside, outside, norm):
        convolution = nn.Conv2d(inside, outside, 3, stride=2, padding=1, bias=not norm)
        return nn.Sequential(convolution, nn.BatchNorm2d(outside) if norm else nn.Identity(), nn.ReLU())

    def forward(self, x):
        first = self.conv1((x - 0.45) / 0.225)
        second = self.conv2(first)
        return Features({"conv1": first, "conv2": second}, self.dropout(second.mean((-2, -1))))


class Broken(Task):
    """A plug-in with a bug in it."""

    def __init__(self, backbone):
        super().__init__()
        int("not a number")

    pose = solve = grade = chance = draw = None


class WaveNet(Backbone):
    """One convolution over sound, for tests of tasks on the wrong kind of backbone."""

    axes = "t"

    def __init__(self):
        super().__init__()
        self.dim = 8
        self.stages = {"conv1": 8}
        self.conv1 = nn.Conv1d(1, 8, 9, stride=4)

    def forward(self, x):
        seen = self.conv1(x)
        return Features({"conv1": seen}, seen.mean(-1))
