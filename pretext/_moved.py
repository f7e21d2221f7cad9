"""Modules by the names that they had in release 0.1; these go with the release after the next.

Configs, runs and plug-ins name classes by path. A path that has moved still works, and one line says what to write.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

NEW = {
    "adversary": "nn.adversarial",
    "augment": "views.augment",
    "backbones.foreign": "backbones.pretrained.match",
    "backbones.outsiders": "backbones.pretrained.build",
    "backbones.tensors": "backbones.pretrained.read",
    "callbacks.checkpoint": "training.callbacks.checkpoint",
    "callbacks.divergence": "training.callbacks.divergence",
    "callbacks.history": "training.callbacks.history",
    "callbacks.online": "training.callbacks.online",
    "callbacks.predictions": "training.callbacks.predictions",
    "callbacks.progress": "training.callbacks.progress",
    "callbacks.quiet": "training.callbacks.quiet",
    "callbacks.record": "training.callbacks.record",
    "callbacks.scored": "training.callbacks.scored",
    "callbacks.stagnation": "training.callbacks.stagnation",
    "colour": "ops.lab",
    "decoder": "nn.decoder",
    "evaluation.average_precision": "evaluation.statistics.average_precision",
    "evaluation.frame": "evaluation.solvers.standardize",
    "evaluation.interval": "evaluation.statistics.intervals",
    "evaluation.items": "evaluation.solvers.logistic_problem",
    "evaluation.knn": "evaluation.solvers.nearest_neighbours",
    "evaluation.lbfgs": "evaluation.solvers.lbfgs",
    "evaluation.linear": "evaluation.solvers.logistic_regression",
    "evaluation.low_label": "evaluation.protocols.low_label",
    "evaluation.planes": "evaluation.solvers.linear_svm",
    "evaluation.presence": "evaluation.multilabel",
    "evaluation.svm": "evaluation.protocols.svm",
    "evaluators": "supervised",
    "evaluators.depth": "supervised.depth",
    "evaluators.finetune": "supervised.finetune",
    "evaluators.labelled": "supervised.labelled",
    "evaluators.linear_probe": "supervised.linear_probe",
    "evaluators.segmentation": "supervised.segmentation",
    "evaluators.segmentation_view": "supervised.segmentation_view",
    "evaluators.supervised": "supervised.module",
    "film": "ops.drawing",
    "gamut": "ops.gamut",
    "heads": "nn.heads",
    "host": "training.host",
    "losses": "nn.losses",
    "mel": "ops.mel",
    "module": "training.pretrainer",
    "moments": "ops.temporal",
    "moves": "ops.geometric",
    "rebalance": "nn.rebalance",
    "resample": "ops.resample",
    "rng": "core.rng",
    "run": "training.run",
    "tasks.alignment": "tasks.multimodal.alignment",
    "tasks.arrow_of_time": "tasks.video.arrow_of_time",
    "tasks.clip_order": "tasks.video.clip_order",
    "tasks.colorization": "tasks.image.colorization",
    "tasks.contrast": "tasks.image.contrast",
    "tasks.counting": "tasks.image.counting",
    "tasks.cross_modal_prediction": "tasks.multimodal.cross_modal_prediction",
    "tasks.distillation": "tasks.multimodal.distillation",
    "tasks.embed": "tasks.multimodal.multimodal_embedding",
    "tasks.future_prediction": "tasks.video.future_prediction",
    "tasks.inpainting": "tasks.image.inpainting",
    "tasks.jigsaw": "tasks.image.jigsaw",
    "tasks.odd_one_out": "tasks.video.odd_one_out",
    "tasks.on": "tasks.adapters.on",
    "tasks.on_frames": "tasks.adapters.on_frames",
    "tasks.reconstruction": "tasks.video.reconstruction",
    "tasks.relative_position": "tasks.image.relative_position",
    "tasks.rotation": "tasks.image.rotation",
    "tasks.shuffle_and_learn": "tasks.video.shuffle_and_learn",
    "tasks.split_brain": "tasks.image.split_brain",
    "tasks.super_resolution": "tasks.image.super_resolution",
    "teachers": "nn.teachers",
    "tiles": "ops.tiles",
    "types": "core.types",
    "weighting": "nn.weighting",
}
"""Old name -> new name, both inside `pretext`."""


class Moved(MetaPathFinder):
    """Finds a module under its old name, after all other ways to find it have failed."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Answer for the old names alone."""
        package, _, old = fullname.partition(".")
        if package != "pretext" or old not in NEW:
            return None
        return ModuleSpec(fullname, Alias(f"pretext.{NEW[old]}"))


class Alias(Loader):
    """Loads the module that has the new name in place of the old one."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._spec: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the very module, so that its classes are the same under both names."""
        warnings.warn(f"{spec.name} is now {self.name}; the old name goes with a later release", FutureWarning, 2)
        module = import_module(self.name)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing, as the module is loaded already; it keeps the spec of its own name."""
        module.__spec__ = self._spec


def install() -> None:
    """Let Python find what has moved."""
    if not any(isinstance(finder, Moved) for finder in sys.meta_path):
        sys.meta_path.append(Moved())
