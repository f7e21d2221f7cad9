"""Segmentation across domains: masks of a source, pictures of a target (https://arxiv.org/abs/1811.12833)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from pretext.core.errors import require
from pretext.core.files import whole
from pretext.core.ranks import together, total
from pretext.core.rng import rng, seed_of
from pretext.core.types import Backbone, Tree, reads_images
from pretext.evaluation import segment
from pretext.nn.adversarial import adversarial
from pretext.nn.map_discriminator import MapDiscriminator
from pretext.nn.self_information import Telling, entropy, self_information, short_of
from pretext.supervised.adaptation.domains import both_of, domain_of
from pretext.supervised.adaptation.module import AcrossDomains
from pretext.supervised.adaptation.readouts import ALONE, LABELS, Beside, others, with_gaps
from pretext.supervised.adaptation.selection import Chosen
from pretext.supervised.mask_scores import MaskScores
from pretext.supervised.scores import write
from pretext.supervised.segmentation import Classifier, head_of, masks_of, mirrored, stage_of
from pretext.supervised.segmentation_view import draw
from pretext.supervised.trunk import trunk
from pretext.training.execution import PLAIN, Execution
from pretext.training.inputs import InputPipeline
from pretext.training.optimization import ADAMW, Optim

MIOU = "miou"


class AdvEnt(AcrossDomains):
    """Train a network and a classifier of places on a source's masks; on the target it is to be as sure as there.

    A discriminator, fully convolutional, tells the maps of self-information of target from those of the source, and the
    network learns to be taken for source (AdvEnt); or its mean entropy on the target is made small (MinEnt). Without
    both it is source only. Unlike `Segmentation` the whole backbone is trained. Logits are upsampled to the masks.

    Data, selection, `score.json` and `beside` are as in `Adaptation`, with mean IoU ("miou") in the place of accuracy
    and no read-outs; `segmentation.png` shows test items of the target.

    Args:
        run: whose trained backbone to take, in the place of
        backbone: the network itself, to train from scratch.
        modality: which network of several.
        stage: the stage to read; by default the last.
        classifier: of places: "linear", or "aspp", DeepLab's pyramid.
        adversarial: weight of being taken for source; 0: no discriminator.
        entropy: weight of the target's mean entropy (MinEnt).
        prior: as `MinEnt`'s, for each picture's share of places; weighed as its entropy.
        width: channels of the discriminator's first layer.
        discriminator_lr: factor of the discriminator's learning rate.
        flip: mirror half of the training items.
        keep_best: use the weights of the best epoch; else the last ones.
        beside: tested runs to compare with.
        optim: the optimiser, and the schedule of its learning rate.
        execution: memory layout and compilation of the backbone.
        seed: first part of the key of every random draw.

    Raises:
        ValueError: neither run nor backbone, one that reads no images, no such stage, a negative weight;
            later, data of one domain, without masks, of other sizes or classes.

    """

    pixels: Tensor

    def __init__(
        self,
        run: str | None = None,
        backbone: Backbone | None = None,
        modality: str | None = None,
        stage: str | None = None,
        classifier: Classifier = "linear",
        adversarial: float = 1e-3,
        entropy: float = 0.0,
        prior: float = 0.0,
        width: int = 64,
        discriminator_lr: float = 0.4,
        flip: bool = True,
        keep_best: bool = True,
        beside: Beside = ALONE,
        optim: Optim = ADAMW,
        execution: Execution = PLAIN,
        seed: int = 0,
    ) -> None:
        network = trunk(run, None if run else backbone, modality)
        super().__init__(InputPipeline(network), optim, execution, seed, keep_best, beside)
        reads_images(network, self)
        self.stage = stage_of(network, stage, self)
        got = f"{adversarial=}, {entropy=}, {prior=}, {discriminator_lr=}"
        sound = min(adversarial, entropy) >= 0 and 0 <= prior <= 1 and discriminator_lr > 0
        require(sound, self, got, "give weights of 0 or more, a share in [0, 1] and a positive factor")
        self.classifier, self.width, self.flip = classifier, width, flip
        self.weights, self.prior, self.discriminator_lr = (adversarial, entropy), prior, discriminator_lr
        self.head: nn.Module = nn.Identity()  # and a discriminator, once the classes are known
        self.discriminator: MapDiscriminator | None = None
        self.scores, self.telling = _fresh(seed), Telling()

    @property
    def name(self) -> str:
        """What it is called in results."""
        return {(True, False): "AdvEnt", (False, True): "MinEnt", (True, True): "AdvEnt + MinEnt"}.get(
            (self.weights[0] > 0, self.weights[1] > 0), LABELS
        )

    def begin(self, classes: int) -> None:
        require(classes > 1, self, f"masks of {classes} class", "give masks of two classes or more")
        channels = self.backbone.stages[self.stage]
        self.head = head_of(self.classifier, channels, classes, self.seed).to(self.device)
        if self.weights[0] > 0:
            with torch.random.fork_rng(devices=[]), torch.device("cpu"):  # Lightning asks for the accelerator here
                torch.default_generator.manual_seed(seed_of(self.seed, "discriminator"))
                self.discriminator = MapDiscriminator(classes, self.width)
            self.discriminator.to(self.device)
        self.register_buffer("pixels", torch.zeros(classes, dtype=torch.int64, device=self.device))

    def configure_optimizers(self) -> Optimizer:
        base = self.rates.optim.optimizer([nn.Parameter(torch.zeros(1))]).param_groups[0]["lr"]
        groups = [{"params": [*self.backbone.parameters(), *self.head.parameters()], "lr": base}]
        if self.discriminator is not None:
            groups.append({"params": list(self.discriminator.parameters()), "lr": base * self.discriminator_lr})
        return self.rates.optimizer(groups)

    def logits(self, x: Tensor, height: int, width: int) -> Tensor:
        """Score every pixel: (N, 3, S, S) in [0, 1] to (N, K, height, width)."""
        stage = self.look(x).stages[self.stage]
        got = f"stage {self.stage!r} is {tuple(stage.shape)}, without places"
        require(stage.ndim == 4, self, got, "choose another")
        with torch.autocast(x.device.type, enabled=False):
            return F.interpolate(self.head(stage.float()), (height, width), mode="bilinear")

    def training_step(self, batch: dict[str, Tree], batch_idx: int) -> Tensor:
        source, target = (self.lawful(half) for half in both_of(batch, 3, self))
        x, answer = self.train_input(source["x"], batch_idx), masks_of(source)
        if self.flip:
            key = (self.global_rank, self.current_epoch, batch_idx)
            generator = rng(self.device, self.seed, "train", "flip", *key)
            some = torch.rand(len(x), generator=generator, device=self.device) < 0.5
            x, answer = mirrored(x, some), mirrored(answer, some)
        draws = max(self.weights) > 0
        both = torch.cat([x, self.inputs.centre(target["x"])]) if draws else x  # batch norm sees both
        logits, *rest = torch.split(self.logits(both, *answer.shape[-2:]), len(x))
        with together():
            self.pixels += total(torch.stack([(answer == k).sum() for k in range(len(self.classes))]))
            loss = segment.loss(logits, answer)
        kept = {"train/labels": loss}
        if draws:
            drawn, figures = self.drawn(logits, torch.cat(rest))
            loss, kept = loss + drawn, kept | figures
        self.keep({**kept, "train/loss": loss})
        return loss

    def drawn(self, source: Tensor, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss that draws target logits (N, K, H, W) to those of the source, and figures for logs."""
        undecided = entropy(target).mean()
        loss, kept = self.weights[1] * undecided, {"train/entropy": undecided}
        if self.prior and self.weights[1]:
            named = target.float().softmax(1).flatten(2).mean(2)
            missed = short_of(named, self.pixels / self.pixels.sum(), self.prior).mean()
            loss, kept = loss + self.weights[1] * missed, kept | {"train/missed": missed}
        if self.discriminator is None:
            return loss, kept
        maps = self_information(source), self_information(target)
        grade = adversarial(self.discriminator, *maps, self.weights[0])
        return loss + grade.loss, kept | {"train/discriminator": grade.scores["discriminator"]}

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        domain = domain_of(batch, self)
        batch = self.lawful(batch)
        if batch_idx == 0:
            self.scores, self.telling = _fresh(self.seed), Telling()
        if domain == "source":
            self._score(batch, domain)
            return
        x = self.inputs.centre(batch["x"])
        logits = self.logits(x, *x.shape[-2:])
        if not batch.get("spare"):
            self.telling.add(logits)

    def on_validation_epoch_end(self) -> None:
        if self.trainer.sanity_checking:
            return
        miou = self.scores["source"].validated(self, len(self.classes))
        self.choice.consider(self, Chosen(miou, self.telling.told()))

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        domain = domain_of(batch, self)
        batch = self.lawful(batch)
        if batch_idx == 0:
            self.scores = _fresh(self.seed)
        masks = self._score(batch, domain)
        if domain == "target":
            self.scores[domain].show(masks, batch, self.number_of(batch_idx))

    def on_test_epoch_end(self) -> None:
        commonest = int(self.pixels.argmax())
        source, mine = (self.scores[domain].tested(self, self.classes, commonest) for domain in ("source", "target"))
        own = {"name": self.name, **{k: mine[k] for k in (MIOU, "low", "high")}, "chosen": True}
        beside = others(self.beside, self.classes, mine["items"])
        facts = {"classes": self.classes, **self.choice.said()}
        rows = with_gaps([own], MIOU, beside)
        write({**mine, "task": "adaptation", "source": source, "rows": rows, **facts}, self.trainer)
        trial = self.trainer.fast_dev_run  # type: ignore[attr-defined]  # Lightning sets it outside the class
        if trial or not self.trainer.is_global_zero:
            return
        with whole(Path(self.trainer.default_root_dir) / "segmentation.png") as draft:
            draw(self.scores["target"].shown, self.classes).savefig(draft, dpi=150, format="png")

    def _score(self, batch: dict[str, Any], domain: str) -> Tensor:
        """Name the class of every pixel, (N, S, S) uint8, and tally them."""
        masks = self.logits(self.inputs.centre(batch["x"]), *masks_of(batch).shape[-2:]).argmax(1).byte()
        # Both domains' batches are of one split, which began with fresh scores: none of them is a first one.
        self.scores[domain].add(masks, batch, 1, len(self.classes))
        return masks


def _fresh(seed: int) -> dict[str, MaskScores]:
    """Begin to score both domains."""
    return {"source": MaskScores(seed, "source"), "target": MaskScores(seed)}
