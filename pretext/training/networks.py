"""What a probe looks at: networks to compare, from a run or from another project's weights, and how they see data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch

from pretext.backbones.pretrained.build import pretrained
from pretext.core.types import Backbone
from pretext.evaluation.baselines import raw_input
from pretext.evaluation.probe import Labelled, ProbedData
from pretext.training.host import Host
from pretext.training.inputs import InputPipeline
from pretext.training.loaders import taken
from pretext.training.options import named_data
from pretext.training.other_data import hint_of_config, options_of, with_own_data
from pretext.training.run import BUILT, CONFIG, MODEL, build, build_data, find, read, restore
from pretext.views.augment import Augment

Networks = dict[str, Backbone]
"""What `probe_run` compares."""


def from_run(
    name: str | PathLike[str],
    options: Sequence[str] = (),
    modality: str | None = None,
    dims: int | None = None,
    data: Any = None,
) -> tuple[Networks, ProbedData, Path]:
    """Find what to probe of a run: its networks, `data`, else its own data or other data by `options`, and its folder.

    Raises:
        FileNotFoundError: no such run, or no checkpoint in it.
        ValueError: the run names no data, or has no network for `modality`.

    """
    run = find(name)
    config = read(run / CONFIG, BUILT if data is None and named_data(options) is None else MODEL)
    trained, _ = build({key: value for key, value in config.items() if key != "data"})
    restore(trained, run)
    network, modality = trained.inputs.network(modality)
    model, source = untrained(config)
    if data is None:
        hint_of_config(options)
        fresh, data = build(with_own_data({**config, "model": model}, options), options, modality)
    else:
        fresh, _ = build({"model": model, "seed_everything": config.get("seed_everything", 0)})
    if data is None:
        raise ValueError("the run names no data; add --data CLASS")
    networks = {"trained": network, "random": fresh.inputs.network(source or modality)[0], "raw": _raw(network, dims)}
    return networks, probed_data(trained.inputs, data, modality), run


def from_module(
    module: Host, data: Any, modality: str | None = None, dims: int | None = None
) -> tuple[Networks, ProbedData]:
    """Find what to probe of a module in memory, whose config may not be known.

    The random network is a copy whose every layer draws its parameters anew; it is left out where some cannot.
    """
    network, modality = module.inputs.network(modality)
    fresh = reset(network)
    networks = {"trained": network} | ({} if fresh is None else {"random": fresh}) | {"raw": _raw(network, dims)}
    return networks, probed_data(module.inputs, data, modality)


def from_backbone(backbone: Backbone, data: Any, dims: int | None = None) -> tuple[Networks, ProbedData]:
    """Find what to probe of a network in memory, which sees canvases as they are loaded."""
    fresh = reset(backbone)
    networks = {"trained": backbone} | ({} if fresh is None else {"random": fresh}) | {"raw": _raw(backbone, dims)}
    return networks, probed_data(InputPipeline(backbone), data, None)


def reset(network: Backbone) -> Backbone | None:
    """Copy a network with parameters drawn anew; None where a layer has some and no `reset_parameters`."""
    copy = deepcopy(network)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for module in copy.modules():
            draw = getattr(module, "reset_parameters", None)
            if callable(draw):
                draw()
            elif next(module.parameters(recurse=False), None) is not None:
                return None
    return copy


def untrained(config: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
    """Return a config's model as it was before any training, and which network of it the config's own run took up.

    What an evaluator began from is another run's model; weights from a file are left out.
    """
    model = deepcopy(dict(config["model"]))
    args = model.get("init_args", model)
    if args.get("run"):
        before, modality = untrained(read(find(args["run"]) / CONFIG, MODEL))
        return before, modality or args.get("modality")
    _forget(args.get("backbone"))
    return model, args.get("modality")


def _forget(backbone: Any) -> None:
    """Leave out every file of weights of a backbone, or of the backbones inside it."""
    if isinstance(backbone, dict):
        backbone.pop("weights", None)
        for part in backbone.values():
            _forget(part)


def from_pretrained(
    spec: str, weights: str | None, options: Sequence[str], crop: int | None = None, dims: int | None = None
) -> tuple[Networks, ProbedData, Path]:
    """Find what to probe of a backbone that no run of ours trained, `weights` being a file; without, it is random.

    Raises:
        ValueError: as in `pretrained.build.pretrained`, or `options` name no data.

    """
    hint_of_config(options)
    data = build_data(options)
    network = pretrained(spec, weights, crop)
    pl.seed_everything(0, verbose=False)
    fresh = network.fresh()
    networks = {} if network.trained is None else {"trained": network.trained()}
    networks |= {"random": fresh, "raw": _raw(fresh, dims)}
    inputs = InputPipeline(fresh, Augment(crop=crop) if crop else None)
    folder = Path("runs") / "probe" / "".join(c if c.isalnum() or c in "-_." else "-" for c in spec)
    return networks, probed_data(inputs, data, None), folder


def probed_data(inputs: InputPipeline, data: Any, modality: str | None) -> ProbedData:
    """Look at data as a module does in evaluation."""
    data = taken(data)
    return ProbedData(
        cast(Labelled, data),  # the batch law's methods, which Lightning does not know
        partial(inputs.eval_input, modality=modality),
        inputs.describe_view(modality),
        modality,
        None if inputs.augment is None else inputs.augmented,
        partial(inputs.for_network, modality=modality),
        repr(inputs.augment),
        options_of(data),
    )


def _raw(network: Backbone, dims: int | None) -> Backbone:
    return raw_input(network) if dims is None else raw_input(network, dims)
