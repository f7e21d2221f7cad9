"""`pretext.test` and `predict`: scores and outputs of a run on its test items."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from torch import Tensor

from pretext.core.errors import require
from pretext.core.quiet import quiet
from pretext.training.callbacks.predictions import Collected
from pretext.training.host import Host
from pretext.training.loaders import taken
from pretext.training.precision import quick_precision
from pretext.training.trained import Run
from pretext.verbs.opening import opened

OPTIONS: dict[str, Any] = {
    "devices": 1,
    "logger": False,
    "enable_checkpointing": False,
    "enable_model_summary": False,
    "enable_progress_bar": False,
}


@dataclass(frozen=True)
class Predicted:
    """What a network says of items.

    Args:
        index: numbers (N,) of the items, in the data's own order.
        values: {"pooled": (N, D)}, or "pooled.rgb" ... of several modalities; of an evaluator {"logits": (N, K)} or its
            like.

    """

    index: Tensor
    values: dict[str, Tensor]


@quiet()
def test(run: Run | Host | str | Path, data: Any = None, **trainer: Any) -> dict[str, float]:  # noqa: PT028  (a verb)
    """Score a run on test items: pretext scores, or those of an evaluator, such as {"test/turn/accuracy": 0.7}.

    An evaluator also writes `score.json` into its run, as `pretext test` does.

    Args:
        run: what `pretext.fit` returned, the folder of a run, or a module.
        data: in any form that `pretext.fit` takes; none: the run's own.
        trainer: options of Lightning's Trainer, such as accelerator or precision.

    Raises:
        FileNotFoundError: no such run, or no checkpoint in it.
        ValueError: no data, or none to test on.

    """
    module, data, lightning = _ready("test", run, data, trainer)
    lightning.test(module, datamodule=data, verbose=False)
    return {name: float(value) for name, value in lightning.callback_metrics.items()}


test.__test__ = False  # type: ignore[attr-defined]  # pytest takes what is called so for a test of its own


@quiet()
def predict(run: Run | Host | str | Path, data: Any = None, **trainer: Any) -> Predicted:
    """Return what a network says of the test items: pooled features, or an evaluator's answers.

    Args:
        run: what `pretext.fit` returned, the folder of a run, or a module.
        data: in any form that `pretext.fit` takes; none: the run's own.
        trainer: options of Lightning's Trainer, such as accelerator or precision.

    Raises:
        FileNotFoundError: no such run, or no checkpoint in it.
        ValueError: no data, or none to test on.

    """
    module, data, lightning = _ready("predict", run, data, trainer)
    lightning.callbacks.append(collected := Collected())  # type: ignore[attr-defined]  # Lightning sets it outside the class
    lightning.predict(module, datamodule=data, return_predictions=False)
    columns = collected.columns()
    return Predicted(columns.pop("index"), columns)


def _ready(
    verb: str, run: Run | Host | str | Path, data: Any, trainer: dict[str, Any]
) -> tuple[Host, pl.LightningDataModule, pl.Trainer]:
    """Open a run and its data, and make a trainer, which writes into the run if there is one."""
    module, own, folder, trained = opened(run, data is None)
    if not trained and not isinstance(run, Host):
        raise FileNotFoundError(f"{verb}: {folder} has no checkpoint; train it first with `pretext fit {folder}`")
    data = own if data is None else data
    require(data is not None, verb, "no data", "give some as the second argument")
    lightning = quick_precision(pl.Trainer(**{**OPTIONS, "default_root_dir": str(folder), **trainer}))
    return module.eval(), taken(data), lightning
