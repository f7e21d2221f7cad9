"""Few-shot episodes over any data module: N classes, K items of each to learn from, Q questions about each.

Classes are labels, or what takes no label: pretext answers (a quarter turn, sound or film played backwards), clusters
of a network's features as in CACTUs (https://arxiv.org/abs/1810.02334), or both.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, final

import torch
from torch import Tensor

from datamodules.base import DataModule, Split
from datamodules.episodes.classes import HELD, HeldClasses, Pool, members_of, read_facts, read_labels, with_change
from datamodules.episodes.drawn import Drawn, Shape
from datamodules.episodes.episodic import COUNTS, Counts, Episodic, Part
from datamodules.errors import DataError, require
from datamodules.loader import Source

Multiply = Literal["none", "turns", "reversal"]
TIMES: dict[Multiply, int] = {"none": 1, "turns": 4, "reversal": 2}


@final
class Episodes(Episodic):
    """Episodes of `ways` classes, `shots` items of each to learn from and `queries` to answer, over other data.

    Classes are split: training episodes hold some, test episodes others, of the other module's test items. Validation
    episodes never hold test items. The same key gives the same episode: (seed, epoch, number) in training, the number
    alone elsewhere. `pretext probe` sees the other module's items as they are.

    Where items are multiplied or clustered no label is used in training; test classes stay labels, and items of theirs
    are left out of training all the same. Of a module without labels all episodes are of pretext answers.

    Args:
        data: where items and classes come from.
        ways: classes of an episode, N.
        shots: items of each class to learn from, K.
        queries: items of each class that are asked about, Q.
        batch_size: episodes per batch and process: the meta-batch.
        count: how many episodes there are.
        held: which classes are held out.
        multiply: training classes times pretext answers: "turns" makes four of each, by quarter turns of the pictures,
            "reversal" two, by playing sounds or films backwards.
        labels: a file of labels of the training items, which take the classes' place in training (`pretext cluster`
            makes one). Of several partitions each episode takes one. Labels of fewer than K + Q items are left out.
        metadata: a CSV file of what is known of each class, for task-informed learning; an episode has the mean of its
            classes, and of the turns or reversals of them.
        seed: of the training episodes.

    Raises:
        DataError: fewer classes than N, fewer items of one than K + Q, an option out of its range; labels of other
            items; metadata without a class, or beside labels from a file.

    """

    def __init__(
        self,
        data: DataModule,
        ways: int = 5,
        shots: int = 1,
        queries: int = 15,
        batch_size: int = 4,
        count: Counts = COUNTS,
        held: HeldClasses = HELD,
        multiply: Multiply = "none",
        labels: str | Path | None = None,
        metadata: str | Path | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, count, seed)
        got = f"ways={ways}, shots={shots}, queries={queries}"
        require(self, ways >= 2 and shots >= 1 and queries >= 1, got, "2 classes, 1 item and 1 question, or more")
        require(self, multiply in TIMES, f"multiply={multiply!r}", f"one of {', '.join(TIMES)}")
        both = labels is not None and metadata is not None
        require(self, not both, f"labels={labels} and metadata={metadata}", "one of them: a cluster has no metadata")
        self.data, self.shape, self.held, self.multiply = data, Shape(ways, shots, queries), held, multiply
        self.labels, self.metadata = (None if file is None else Path(file) for file in (labels, metadata))
        data._skipped = self._skipped  # whose run it is, this module knows

    @property
    def classes(self) -> list[str]:
        return self.data.classes

    @property
    def outputs(self) -> int:
        return self.shape.ways

    @property
    def facts(self) -> int:
        """How many numbers of metadata an episode has."""
        facts = self._facts()
        return 0 if facts is None else facts.shape[1] + (TIMES[self.multiply] if self.multiply != "none" else 0)

    def prepare_data(self) -> None:
        self.data.prepare_data()

    def open(self, split: Split) -> Source:
        return self.data._source(split)

    def tasks(self, part: Part) -> Source:
        """Return the episodes of a part.

        Raises:
            DataError: as above.

        """
        source = self._source("test" if part == "test" else "train")
        pools = self._pools(source, part)
        for pool in pools:
            self._check(pool, part)
        key = (part,) if part == "train" else (part, self.held.draw)
        return Drawn(source, pools, self.shape, getattr(self.count, part), key, self._changed)

    def _pools(self, source: Source, part: Part) -> list[Pool]:
        """Find the classes of a part, one pool of them for each partition."""
        kept, held = self.data._division()
        own = {"train": kept, "val": held, "test": torch.arange(len(source))}[part]
        every, times = self.data.classes, TIMES[self.multiply]
        groups: dict[Part, list[int]] = {"train": [0], "val": [0], "test": [0]}
        if not every:
            labels = torch.zeros(len(source), dtype=torch.int64)
        else:
            labels, groups = self._labels(source), self._groups(len(every))
            if self.held.val:  # then the classes differ, and no item needs to
                own = torch.arange(len(source))
        mine = groups[part]
        if self.labels is not None and (part == "train" or not every):
            require(self, part != "test", f"{type(self.data).__name__} without classes", "labelled items to test on")
            among = own[torch.isin(labels[own], torch.tensor(mine))]
            pools = [self._clustered(answers, among) for answers in self._partitions(source)]
        else:
            facts = self._facts()
            pools = [Pool(members_of(labels, mine, own), [0] * len(mine), None if facts is None else facts[mine])]
        if part == "train" or not every:
            return [pool.multiplied(times) if times > 1 else pool for pool in pools]
        return [p if p.facts is None or times == 1 else p._replace(facts=_plain(p.facts, times)) for p in pools]

    def _groups(self, classes: int) -> dict[Part, list[int]]:
        train, val, test = self.held.divided(self, classes)
        return {"train": train, "val": val or train, "test": test}

    def _labels(self, source: Source) -> Tensor:
        labels, kind = source.y, type(self.data).__name__
        single = labels is not None and labels.ndim == 1
        require(self, single, f"{kind}, whose items have not one label each", "items of one class each")
        assert labels is not None
        return labels

    def _partitions(self, source: Source) -> list[Tensor]:
        assert self.labels is not None
        return read_labels(self, self.labels, source.fingerprint(dated=False), len(source))

    def _clustered(self, answers: Tensor, among: Tensor) -> Pool:
        members = members_of(answers, torch.unique(answers[answers >= 0]).tolist(), among)
        large = [items for items in members if len(items) >= self.shape.shots + self.shape.queries]
        return Pool(large, [0] * len(large))

    def _facts(self) -> Tensor | None:
        return None if self.metadata is None else read_facts(self, self.metadata, self.data.classes)

    def _check(self, pool: Pool, part: Part) -> None:
        ways, each = self.shape.ways, self.shape.shots + self.shape.queries
        if len(pool.members) < ways:
            more = "; lower ways, hold out fewer classes (held.val, held.test)"
            if part == "train" and self.multiply == "none":
                more += ", or multiply them (--data.multiply turns)"
            raise DataError(f"Episodes got {len(pool.members)} classes for {part} and wants ways={ways}{more}")
        least = min(map(len, pool.members))
        if least < each:
            raise DataError(
                f"Episodes got a class of {least} items for {part} and wants shots + queries = {each}; lower them"
                + (
                    ", or hold out classes to validate on (held.val), or validate on none (count.val 0)"
                    if part == "val"
                    else ""
                )
            )

    def _changed(self, x: Tensor, way: int) -> Tensor:
        """Turn pictures (n, ..., S, S) by so many quarters, or play sounds (n, 1, L) and films (n, C, T, S, S) back."""
        if self.multiply == "turns":
            require(self, x.ndim > 3, f"multiply='turns' of {tuple(x.shape)}", "pictures or films")
            return x.rot90(way, (-2, -1))
        require(self, x.ndim in (3, 5), f"multiply='reversal' of {tuple(x.shape)}", "sounds or films")
        return x.flip(-1 if x.ndim == 3 else 2)


def _plain(facts: Tensor, times: int) -> Tensor:
    """Say of classes that they are as they are, where training has others too."""
    return with_change(facts, [0] * len(facts), times)
