"""`pretext probe`: what does every stage know about classes that it was never shown?

Each stage of the trained backbone is compared with the same backbone at random initialisation and with the raw input.
Whatever is chosen (k, L2 strength, C, stage) is chosen on a share of the training items; the test items are looked at
once. An item may be an image, a sound or a video, of which several clips are looked at and their features averaged.
"""

from __future__ import annotations

import time
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from rich.console import Console
from torch import Generator, Tensor

from pretext.backbones.two_encoders import TwoEncoders
from pretext.core.types import Backbone
from pretext.evaluation.augmented import Augmented, Batches
from pretext.evaluation.available import DEFAULT, plugins_described, protocols_named
from pretext.evaluation.embed import DIMS, Cache, Embedded, View, embed, looking
from pretext.evaluation.ensembled import GeneratedViews
from pretext.evaluation.folds import VALIDATION_SHARE
from pretext.evaluation.kept import keep, step_of
from pretext.evaluation.measure import Measured, measure
from pretext.evaluation.protocol import Protocol
from pretext.evaluation.results import Point, ProbeResult, StageRow
from pretext.evaluation.shards import Crew, Look, Sharing

Split = Literal["train", "test"]
SPLITS: tuple[Split, Split] = ("train", "test")


class Labelled(typing.Protocol):
    """What of a data module is needed here."""

    @property
    def classes(self) -> list[str]:
        """Names of the classes, in the order of their labels; empty where unlabelled."""

    def ordered(self, split: Split) -> Batches:
        """Go through a split in order, each item once."""

    def fingerprint(self, split: Split) -> str:
        """Hash what `ordered` yields."""


class ProbedData(NamedTuple):
    """What a probe looks at, and how."""

    data: Labelled
    view: View
    """Turns a loaded batch into what the backbone is shown."""
    view_key: str
    """Says in words what `view` does; part of a cached feature's name."""
    modality: str | None = None
    """Which network of several it is."""
    augment: Callable[[Any, Generator], Any] | None = None
    """Turns a loaded batch into random crops."""
    crop_view: View = Tensor.float
    """Turns such crops into what the backbone is shown."""
    augment_key: str = ""
    """Says how `augment` makes crops; part of a cached feature's name."""
    options: Mapping[str, Any] = {}
    """Those of the data that are not its defaults, to be shown beside the result."""
    examples: Batches | None = None
    """Of two encoders: what stands for classes, such as prompts."""


class ProbePlan(NamedTuple):
    """What is measured, and at which cost."""

    protocols: Sequence[str | Protocol] = DEFAULT
    """By short name or class path, see `protocols_named`."""
    views: int = 0
    """Augmented views of each training item, beside the plain one."""
    dims: int = DIMS
    """Values that each stage is pooled to, at most."""
    device: torch.device | str | None = None
    """By default the accelerator if there is one."""
    dtype: torch.dtype = torch.float32
    """bfloat16: embed under autocast."""
    ensemble: GeneratedViews | None = None
    """Generated views of each test picture, averaged with it."""
    stages: Sequence[str] | None = None
    """Those to measure, by default all."""


class Place(NamedTuple):
    """Where features are kept, and the fingerprints of the splits, for which a look at every file is taken: once."""

    folder: Path
    prints: Mapping[Split, str]


class ProbedSet(NamedTuple):
    """A set as it is embedded."""

    split: Split
    batches: Batches
    view: View
    key: str
    """Says what is looked at; part of a cached feature's name."""


def probe_run(
    networks: Mapping[str, Backbone],
    probed: ProbedData,
    folder: Path,
    command: str,
    plan: ProbePlan | None = None,
    crew: Crew | None = None,
    run: Path | None = None,
) -> ProbeResult:
    """Probe every stage, keep the result (see `kept`) and the features in `folder`, and return what was measured.

    `networks`: "trained", "random" (the same backbone at random initialisation) and "raw" (`baselines.raw_input`). A
    `crew` embeds together; its helpers run `assist` meanwhile. `run`: of which they may be; none: `folder`.

    Raises:
        ValueError: the data has no labels, or as in `embed` and `measure`.

    """
    begin, plan = time.perf_counter(), plan or ProbePlan()
    for backbone in networks.values():
        _check(backbone, probed, plan)
    step = step_of(networks["trained"], run or folder) if "trained" in networks else None
    place = place_in(folder, probed.data)
    rows: list[StageRow] = []
    curves: dict[str, list[Point]] = {}
    for features, backbone in networks.items():
        sharing = None if crew is None else Sharing(crew, (None, features))
        measured = probe_network(backbone, probed, plan, place, features, sharing)
        rows += [replace(row, features=features) for row in measured.rows]
        for name, points in measured.curves.items():
            curves.setdefault(name, []).extend(replace(point, features=features) for point in points)
    seconds = round(time.perf_counter() - begin, 2)
    joined = {name: tuple(points) for name, points in curves.items()}
    about = {**facts(probed, plan, measured), "options": dict(probed.options) or None, "fingerprints": place.prints}
    own: dict[str, Any] = {"listed": _listed(probed.data, place.prints), "step": step}
    own["called"] = getattr(probed.data, "called", None)
    result = ProbeResult(tuple(rows), joined, **about, **own, seconds=seconds, command=command)
    keep(result, folder)
    return result


def place_in(folder: Path, data: Labelled) -> Place:
    """Name the place for features in a folder, where all networks find the splits as they are now."""
    return Place(folder / "features", {split: data.fingerprint(split) for split in SPLITS})


def _listed(data: Labelled, prints: Mapping[Split, str]) -> dict[Split, str] | None:
    """Hash which items the splits have, as every machine does; None where the fingerprints are that already."""
    listed: Callable[[Split], str] | None = getattr(data, "listed", None)
    found = None if listed is None else {split: listed(split) for split in SPLITS}
    return None if found == prints else found


def probe_network(
    backbone: Backbone,
    probed: ProbedData,
    plan: ProbePlan,
    place: Place | None,
    title: str,
    sharing: Sharing | None = None,
) -> Measured:
    """Embed both splits, from their `place` where they are there already, and measure every stage.

    With `sharing`, which says for `assist` what of, most of it is embedded by other processes.

    Raises:
        ValueError: the data has no labels, or as in `embed` and `measure`.

    """
    _check(backbone, probed, plan)
    device = _device(plan)
    backbone = backbone.to(device)

    def look(split: Split, k: int | None = None) -> Embedded:
        _, batches, view, key = _set(probed, split, k, plan.ensemble)
        cache = None if place is None else Cache(place.folder, place.prints[split], key)
        name, others = f"embedding {split}, {title}", None if sharing is None else sharing.of(split, k)
        how = partial(embed, dims=plan.dims, dtype=plan.dtype, title=name)
        every = how(backbone, batches, view, cache=cache, sharing=others)
        return every if plan.stages is None else every.only(plan.stages)

    train, test = (look(split) for split in SPLITS)
    views = [look("train", k) for k in range(plan.views)]
    with Console(stderr=True).status(f"probing {title}"):
        pair = backbone.pair if isinstance(backbone, TwoEncoders) else None
        examples = None if probed.examples is None else embed(backbone, probed.examples, probed.view, dims=plan.dims)
        return measure(train, test, plan.protocols, views, device, probed.data.classes, pair, examples)


def assist(
    crew: Crew, networks_of: Callable[[Any], tuple[Mapping[str, Backbone], ProbedData]], plan: ProbePlan
) -> None:
    """Embed what another process wants of its networks, until it has all; `networks_of` makes them here too."""

    def prepare(what: tuple[Any, str, Split, int | None]) -> tuple[Look, Batches]:
        job, name, split, k = what
        networks, probed = networks_of(job)
        wanted = _set(probed, split, k, plan.ensemble)
        backbone = networks[name].to(_device(plan)).eval()
        return looking(backbone, wanted.view, plan.dims, plan.dtype, ""), wanted.batches

    for call in crew.calls():
        crew.help(call, prepare)


def _device(plan: ProbePlan) -> torch.device:
    return torch.device(plan.device or ("cuda" if torch.cuda.is_available() else "cpu"))


def _set(probed: ProbedData, split: Split, k: int | None, ensemble: GeneratedViews | None) -> ProbedSet:
    """Say what is embedded of a split: the plain items (of test perhaps with views), or their augmented view `k`."""
    if k is None and split == "test" and ensemble is not None:
        view = ensemble.around(probed.view)
        return ProbedSet(split, probed.data.ordered(split), view, f"{probed.view_key}; {ensemble.words}")
    if k is None:
        return ProbedSet(split, probed.data.ordered(split), probed.view, probed.view_key)
    assert probed.augment is not None
    batches = Augmented(probed.data.ordered(split), probed.augment, k=k)
    # How many batches: the random numbers go by the first item of each.
    key = f"{probed.view_key}; augmented view {k} of {len(batches)} batches, {probed.augment_key}"
    return ProbedSet(split, batches, probed.crop_view, key)


def _check(backbone: Backbone, probed: ProbedData, plan: ProbePlan) -> None:
    by_labels = any(one.description.labels for one in protocols_named(plan.protocols))
    if by_labels and not probed.data.classes and not _has_numbers(probed.data):
        kind = {"hw": "ImageFolder", "thw": "Clips", "t": "Sounds"}.get(backbone.axes, "ImageFolder")
        raise ValueError(
            f"probe needs labels, but {type(probed.data).__name__} has none; "
            f"pass a labelled set: --data datamodules.{kind} --data.root DIR"
        )
    if plan.ensemble is not None:
        plan.ensemble.check()
    if plan.views and probed.augment is None:
        raise ValueError(
            f"probe got views={plan.views}, but there is no augmentation to make them with; for a "
            "run name one (--model.augment pretext.Augment --model.augment.crop 32), for --backbone give --crop"
        )


def _has_numbers(data: Labelled) -> bool:
    """Tell whether the items have numbers in place of classes."""
    first = next(iter(data.ordered("train")), None)
    y = None if first is None else first.get("y")
    return isinstance(y, Tensor) and y.is_floating_point()


def facts(probed: ProbedData, plan: ProbePlan, measured: Measured) -> dict[str, Any]:
    """Say what was looked at and by which protocols: {"data", "protocol"} and, of a user's own protocols, "described".

    The words of "protocol" must stay the same from release to release: `pretext compare` sets side by side what was
    measured in the same way.
    """
    modality = {"modality": probed.modality} if probed.modality else {}
    more = f"; {plan.views} augmented views of each training item added" if plan.views else ""
    used = [one for one in protocols_named(plan.protocols) if _was_used(one, measured)]
    described = plugins_described(used)
    return {
        "data": {
            "class": type(probed.data).__name__,
            **modality,
            **dict(zip(SPLITS, measured.items, strict=True)),
            "classes": list(probed.data.classes),
        },
        "protocol": {
            **{protocol.description.name: protocol.description.about for protocol in used},
            "features": f"each stage pooled to the finest grid of at most {plan.dims} values{more}",
            "chosen on": f"a stratified {100 * VALIDATION_SHARE:g} % of train: l2, k and the best stage",
            "interval": "95 %, Wilson (mean average precision: bootstrap)",
            "view": probed.view_key + ("" if plan.ensemble is None else f"; test {plan.ensemble.words}"),
            **({} if measured.blind_guess is None else {"chance": measured.blind_guess}),
        },
        **({"described": described} if described else {}),
    }


def _was_used(protocol: Protocol, measured: Measured) -> bool:
    name = protocol.description.name
    return name in measured.rows[0].parts or bool(measured.curves.get(name))
