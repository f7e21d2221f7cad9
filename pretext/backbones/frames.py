"""A network for images that reads clips, frame by frame, and a network for clips that reads images."""

from __future__ import annotations

from torch import Tensor

from pretext.core.types import Backbone, Features


class Frames(Backbone):
    """A network for images on clips: every frame is seen by itself, and `pooled` is the mean over the frames.

    Stages keep the network's names and have all frames, (N, D, T, h, w), so that a task that tells frames apart can
    read them. A clip of one frame gives what the network gives for that image. In training, batch norm takes its
    statistics over all frames of all clips.

    Args:
        backbone: reads images, such as `TorchVision`.

    Raises:
        ValueError: it does not.

    """

    axes = "thw"

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        if not isinstance(backbone, Backbone) or backbone.axes != "hw":
            what = f"reads {backbone.axes!r}" if isinstance(backbone, Backbone) else "is no backbone"
            raise ValueError(
                f"Frames: needs a backbone that reads images ('hw'), but {type(backbone).__name__} {what}; "
                f"choose one such as TorchVision; one that reads clips needs no Frames"
            )
        self.backbone = backbone
        self.stages = dict(backbone.stages)
        self.dim = backbone.dim

    def forward(self, x: Tensor) -> Features:
        if x.ndim != 5 or x.shape[2] == 0:
            raise ValueError(
                f"Frames: reads clips (N, C, T, H, W) of at least one frame, got {tuple(x.shape)}; "
                f"for images give the network inside, or x[:, :, None]"
            )
        n, _, t, _, _ = x.shape
        features: Features = self.backbone(x.transpose(1, 2).flatten(0, 1))  # (N T, C, H, W), clip by clip
        stages = {name: s.reshape(n, t, *s.shape[1:]).transpose(1, 2) for name, s in features.stages.items()}
        return Features(stages, features.pooled.reshape(n, t, -1).mean(1))


class OneFrame(Backbone):
    """A network for clips as one for images: what a task for images is built from, and follows.

    Args:
        backbone: reads clips.

    """

    axes = "hw"

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.dim, self.stages = backbone.dim, dict(backbone.stages)

    def forward(self, x: Tensor) -> Features:
        """Look at images (N, C, H, W) as clips of one frame."""
        return still(self.backbone(x.unsqueeze(2)))


def still(features: Features) -> Features:
    """Average out the axis of time of maps (N, D, t, h, w)."""
    return features._replace(
        stages={name: map_.mean(2) if map_.ndim == 5 else map_ for name, map_ in features.stages.items()}
    )
