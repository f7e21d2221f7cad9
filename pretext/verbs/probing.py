"""`pretext.probe`: measure what every stage of a network learned."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pretext.backbones.wrapped import Wrapped
from pretext.core.errors import require, require_count
from pretext.core.quiet import quiet
from pretext.core.types import Backbone
from pretext.evaluation.available import DEFAULT, of_two_encoders, protocols_named
from pretext.evaluation.embed import DIMS
from pretext.evaluation.ensembled import GeneratedViews
from pretext.evaluation.probe import SPLITS, ProbedData, ProbePlan, probe_run
from pretext.evaluation.protocol import Protocol
from pretext.evaluation.results import ProbeResult
from pretext.training.batches import check_first, check_labels
from pretext.training.encoders import encoders_of_module, encoders_of_run
from pretext.training.fitting import check_rate
from pretext.training.host import Host
from pretext.training.loaders import Adapted, Loaders, taken
from pretext.training.networks import Networks, from_backbone, from_module, from_run
from pretext.training.trained import Run

COMMAND = "pretext.probe(...)"


@quiet()
def probe(
    run: Run | Host | nn.Module | str | Path,
    data: Any = None,
    *,
    protocols: str | Protocol | Sequence[str | Protocol] = DEFAULT,
    views: int = 0,
    dims: int = DIMS,
    modality: str | None = None,
    device: torch.device | str | None = None,
    folder: str | Path | None = None,
    ensemble: GeneratedViews | None = None,
) -> ProbeResult:
    """Measure every stage of a network beside the same one at random initialisation and the raw input.

    Args:
        run: what `pretext.fit` returned, the folder of a run, a module, a `pretext.Backbone` or any module that reads
            images.
        data: labelled data in any form that `pretext.fit` takes; none: the run's own.
        protocols: one or several, by short name ("linear"), class path, or as objects, such as
            `pretext.ZeroShot(FILE)`. "retrieval" stands alone: it looks at two encoders of a run.
        views: augmented views of each training item to add.
        dims: values that a stage is pooled to.
        modality: which network of several; none: the first.
        device: none: the accelerator if there is one.
        folder: where the result and the features are kept; none: the run, or runs/probe/<class>.
        ensemble: generated views of each test picture, whose features are averaged with its own.

    Raises:
        ValueError: no data, or none with labels; as in `evaluation.probe.probe_run`.

    """
    require_count("probe", "dims", dims)
    require_count("probe", "views", views, 0)
    plan = ProbePlan(protocols_named(protocols), views, dims, device, ensemble=ensemble)
    data = None if data is None else taken(data)
    if (pairs := of_two_encoders(protocols_named(protocols))) is not None:
        networks, probed, home = _encoders(run, data, pairs.file)
        return probe_run(networks, probed, Path(folder or home), COMMAND, plan, run=home)
    networks, probed, home = found(run, data, modality, dims)
    check_own(probed.data, next(iter(networks.values())), plan)
    check_rate(next(iter(networks.values())), probed.data)
    return probe_run(networks, probed, Path(folder or home), COMMAND, plan, run=home)


def check_own(data: Any, backbone: Backbone, plan: ProbePlan) -> None:
    """Look at the first batch of both splits of a user's own data, each with a transform perhaps, and at the labels.

    Raises:
        ValueError: values out of range, or labels that are no classes.

    """
    if not isinstance(data, Loaders | Adapted):
        return
    for split in SPLITS:
        first = next(iter(data.ordered(split)), None)
        if first is None or "y" not in first:  # which is told later
            return
        check_first(first["x"], backbone, split)
    by_labels = {one.description.name for one in protocols_named(plan.protocols) if one.description.labels}
    if by_labels - {"regression"}:  # who asks for that alone may have the numbers 0 and 1
        check_labels(data.ordered("train"), "probe")


def _encoders(run: Any, data: Any, prompts: Path | None) -> tuple[Networks, ProbedData, Path]:
    """Find two encoders, data and folder."""
    require(isinstance(run, Run | str | Path), "probe", f"retrieval of a {type(run).__name__}", "give a run")
    if isinstance(run, Run):
        data = run.data if data is None else data
        if not run.is_written:
            return *encoders_of_module(run.module, data, prompts), run.folder
    return encoders_of_run(run, (), prompts, data)


def found(run: Any, data: Any, modality: str | None, dims: int | None = None) -> tuple[Networks, ProbedData, Path]:
    """Find networks, data and folder."""
    if isinstance(run, Run):
        if run.is_written:
            return from_run(run.folder, (), modality, dims, run.data if data is None else data)
        return *from_module(run.module, run.data if data is None else data, modality, dims), run.folder
    if isinstance(run, str | Path):
        return from_run(run, (), modality, dims, data)
    kind = type(run).__name__
    require(isinstance(run, nn.Module), "probe", f"run is a {kind}", "give a run, its folder, or a network")
    require(data is not None, "probe", f"a {kind} and no data", "give labelled data as the second argument")
    home = Path("runs") / "probe" / kind
    if isinstance(run, Host):
        return *from_module(run, data, modality, dims), home
    return *from_backbone(as_backbone(run, data), data, dims), home


def as_backbone(module: nn.Module, data: Any) -> Backbone:
    """Wrap a plain module, which is measured at the size of the data's pictures."""
    if isinstance(module, Backbone):
        return module
    x = next(iter(data.ordered("train")))["x"]
    require(isinstance(x, torch.Tensor) and x.ndim == 4, "Wrapped", "no pictures", "write a pretext.Backbone around it")
    return Wrapped(module, image_size=int(x.shape[-1]))
