"""`pretext.cluster`: classes without labels, to learn to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pretext.core.files import write_json
from pretext.core.quiet import quiet
from pretext.training.meta.clusters import labels_of
from pretext.training.networks import from_run
from pretext.training.trained import Run
from pretext.verbs.probing import found

FILE = "labels.json"


@quiet()
def cluster(
    run: Run | str | Path,
    options: Sequence[str] = (),
    *,
    clusters: int = 50,
    partitions: int = 1,
    stage: str | None = None,
    modality: str | None = None,
    out: str | Path | None = None,
) -> Path:
    """Cluster the training items by a run's features, and write labels for `datamodules.Episodes(labels=FILE)`.

    Args:
        run: what `pretext.fit` returned, or the folder of a run.
        options: other data than the run's, such as ("--data", "datamodules.CIFAR10", "--data.root", DIR).
        clusters: how many.
        partitions: so many clusterings, of features that are scaled at random.
        stage: whose features; none: those of the last.
        modality: which network of several; none: the first.
        out: the file; none: labels.json in the run.

    Raises:
        ValueError: as in `training.meta.clusters.labels_of`.

    """
    networks, probed, folder = from_run(run, options, modality) if options else found(run, None, modality)
    labels = labels_of(networks["trained"], probed, clusters, partitions, stage)
    return write_json(out or folder / FILE, labels)
