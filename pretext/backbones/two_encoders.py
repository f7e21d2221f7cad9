"""Two encoders that meet in one space: what a trained `Embed`, or an outsider's CLIP, makes of pictures and texts."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from pretext.core.types import Backbone, Features


class TwoEncoders(Backbone):
    """Two networks of a `MultiModal` with the head of each: their stages are the embeddings, by modality.

    It looks at any of its two modalities, so that prompts for classes are embedded without pictures.

    Args:
        backbone: of several modalities; gives {name: `Features`} of {name: input}.
        heads: of the two modalities, from `pooled` to the embedding.
        outputs: size of the embeddings.
        reads: the input axes of each modality's network, such as {"rgb": "hw", "text": "l"}.

    """

    axes = ""

    def __init__(
        self, backbone: Backbone, heads: Mapping[str, nn.Module], outputs: int, reads: Mapping[str, str]
    ) -> None:
        super().__init__()
        self.reads = dict(reads)
        self.backbone, self.heads = backbone, nn.ModuleDict(heads)
        self.dim, self.stages = outputs, dict.fromkeys(heads, outputs)

    @property
    def pair(self) -> tuple[str, str]:
        """The names of the modalities, first the one that asks."""
        first, second = self.stages
        return first, second

    def forward(self, x: dict[str, Tensor]) -> Features:
        """Embed {name: (N, C, *S)}: a stage (N, outputs) for each modality that `x` has of the two; `pooled` the first.

        Raises:
            ValueError: `x` has neither.

        """
        own = {name: part for name, part in x.items() if name in self.stages} if isinstance(x, dict) else {}
        if not own:
            got = f"a dict of {', '.join(x)}" if isinstance(x, dict) else "one modality without a name"
            raise ValueError(f"TwoEncoders: embeds {' and '.join(self.stages)}, got {got}; choose other data")
        seen = self.backbone(own)
        stages = {name: self.heads[name](seen[name].pooled) for name in own}
        return Features(stages, next(iter(stages.values())))
