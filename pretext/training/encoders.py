"""What retrieval looks at: two encoders of a run, or of another project, beside the same ones untrained."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl

from pretext.backbones.multimodal import MultiModal
from pretext.backbones.open_clip import OpenClip
from pretext.backbones.two_encoders import TwoEncoders
from pretext.core.errors import require
from pretext.core.types import Tree
from pretext.evaluation.probe import Labelled, ProbedData
from pretext.evaluation.prompts import read_prompts
from pretext.training.host import Host
from pretext.training.inputs import InputPipeline
from pretext.training.loaders import taken
from pretext.training.networks import Networks, reset
from pretext.training.options import named_data
from pretext.training.other_data import hint_of_config, options_of, with_own_data
from pretext.training.run import BUILT, CONFIG, MODEL, build, build_data, find, read, restore

WHO = "retrieval"
OPEN_CLIP = "open_clip:"


def encoders_of_run(
    name: str | Path, options: Sequence[str] = (), prompts: Path | None = None, data: Any = None
) -> tuple[Networks, ProbedData, Path]:
    """Find two encoders of a run, the same ones untrained, and what to probe them on.

    Raises:
        FileNotFoundError: no such run, or no checkpoint in it.
        ValueError: the run has no task that joins two encoders, or names no data; or as in `read_prompts`.

    """
    run = find(name)
    config = read(run / CONFIG, BUILT if data is None and named_data(options) is None else MODEL)
    trained, _ = build({key: value for key, value in config.items() if key != "data"})
    restore(trained, run)
    joined = joined_of(trained)
    if data is None:
        hint_of_config(options)
        fresh, data = build(with_own_data(config, options), options)
    else:
        fresh, _ = build({"model": config["model"], "seed_everything": config.get("seed_everything", 0)})
    require(data is not None, WHO, "the run names no data", "add --data CLASS")
    networks: Networks = {"trained": joined, "random": joined_of(fresh)}
    return networks, probed_pairs(trained.inputs, joined, taken(data), prompts), run


def encoders_of_module(module: Host, data: Any, prompts: Path | None = None) -> tuple[Networks, ProbedData]:
    """Find two encoders of a module in memory, whose config is not known, the same ones untrained, and their data.

    Raises:
        ValueError: the module has no task that joins two encoders; or as in `read_prompts`.

    """
    joined = joined_of(module)
    fresh = reset(joined)
    networks: Networks = {"trained": joined}
    networks |= {} if fresh is None else {"random": fresh}
    return networks, probed_pairs(module.inputs, joined, taken(data), prompts)


def encoders_of_open_clip(
    spec: str, weights: str | None, options: Sequence[str], prompts: Path | None = None
) -> tuple[Networks, ProbedData, Path]:
    """Find an open_clip model from a file, one at random initialisation, and what to probe them on.

    Raises:
        ImportError: open_clip is not installed.
        ValueError: an unknown model, a file of another one, or no data; or as in `read_prompts`.

    """
    require(spec.startswith(OPEN_CLIP), WHO, f"--backbone {spec} is one network", "give a run, or open_clip:NAME")
    hint_of_config(options)
    data, name = build_data(options), spec.removeprefix(OPEN_CLIP)
    pl.seed_everything(0, verbose=False)
    random = OpenClip(name)
    networks: Networks = {"trained": OpenClip(name, weights).encoders()} if weights else {}
    networks |= {"random": random.encoders()}
    folder = Path("runs") / "probe" / "".join(c if c.isalnum() or c in "-_." else "-" for c in spec)
    return networks, probed_pairs(InputPipeline(random), random.encoders(), taken(data), prompts), folder


def joined_of(host: Host) -> TwoEncoders:
    """Join two encoders by the first task of a module that does so.

    Raises:
        ValueError: there is none.

    """
    tasks = getattr(host, "tasks", {})
    task = next((task for task in tasks.values() if hasattr(task, "encoders")), None)
    got = f"{type(host).__name__} has no task that joins two encoders, only {', '.join(tasks) or 'none'}"
    require(task is not None, WHO, got, "train one with pretext.Embed")
    return cast(TwoEncoders, cast(Any, task).encoders(host.backbone))


def probed_pairs(inputs: InputPipeline, joined: TwoEncoders, data: Any, prompts: Path | None) -> ProbedData:
    """Look at both modalities as a module does in evaluation; prompts stand for the classes, if there are some."""
    examples = None
    if prompts is not None:
        reads = [name for name in joined.pair if joined.reads[name] == "l"]
        got = f"prompts are texts, but {' and '.join(joined.pair)} read none"
        require(bool(reads), WHO, got, "leave --classes out: training items then stand for their classes")
        examples = read_prompts(prompts, data.classes, reads[0])
    first = joined.pair[0] if isinstance(inputs.backbone, MultiModal) else None
    words = f"{inputs.describe_view(first)}; {' and '.join(joined.pair)}"
    view = cast(Any, partial(_both, inputs, joined.pair))
    return ProbedData(cast(Labelled, data), view, words, None, options=options_of(data), examples=examples)


def _both(inputs: InputPipeline, pair: tuple[str, str], x: Tree) -> Tree:
    """Bring the modalities of a pair to what their networks read; of prompts there is one."""
    found = [name for name in pair if name in x] if isinstance(x, dict) else []
    got = f"the data has {', '.join(x)}" if isinstance(x, dict) else "the data has one modality without a name"
    require(bool(found), WHO, f"{got}, the encoders read {' and '.join(pair)}", "choose other data")
    return inputs.centre({name: x[name] for name in found})
