"""Loaders of a user's own, item by item: what is evaluated, in what order, and on which rank."""

from functools import partial

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import yaml
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    Sampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

import pretext
from pretext import Loaders
from pretext.training import in_order
from pretext.training.in_order import Dealt, InOrder
from pretext.training.loaders import Adapted
from pretext.training.other_data import options_of

ITEMS = 23
HELD_OUT = [3, 19, 7, 12, 8]


def pictures(count=ITEMS):
    """Pictures that say which they are."""
    return torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 4, 4)


def loader(batch_size=4, **options):
    return DataLoader(TensorDataset(pictures(), torch.arange(ITEMS) // 8), batch_size=batch_size, **options)


class Odd(Sampler):
    """A user's own: some of the items, in any order, one of them twice."""

    def __iter__(self):
        return iter([9, 1, 5, 1])


class Forever(Sampler):
    def __iter__(self):
        while True:
            yield int(torch.randint(ITEMS, ()))


class Stream(IterableDataset):
    def __iter__(self):
        return iter(pictures())


def seen(batches):
    """Which pictures batches are of."""
    return [int(picture[0, 0, 0]) for batch in batches for picture in batch["x"]]


def numbers(batches):
    return torch.cat([batch["index"] for batch in batches]).tolist()


ALL = list(range(ITEMS))
DRAWN = {
    "shuffled": (lambda: loader(shuffle=True), ALL),
    "incomplete batches dropped": (lambda: loader(drop_last=True), ALL),
    "weighted": (lambda: loader(sampler=WeightedRandomSampler(torch.ones(ITEMS), 5)), ALL),
    "a rank's": (lambda: loader(sampler=DistributedSampler(range(ITEMS), 2, 1)), ALL),
    "held out": (lambda: loader(sampler=SubsetRandomSampler(HELD_OUT)), sorted(HELD_OUT)),
    "held out by NumPy": (lambda: loader(sampler=SubsetRandomSampler(np.array(HELD_OUT))), sorted(HELD_OUT)),
    "held out by torch": (lambda: loader(sampler=SubsetRandomSampler(torch.tensor(HELD_OUT))), sorted(HELD_OUT)),
    "own": (lambda: loader(sampler=Odd()), [1, 5, 9]),
    "own batches": (
        lambda: DataLoader(TensorDataset(pictures()), batch_sampler=BatchSampler(Odd(), 3, drop_last=False)),
        [1, 5, 9],
    ),
    "batches of the data set's": (lambda: DataLoader(pictures().split(5), batch_size=None), ALL),
    "a stream": (lambda: DataLoader(Stream(), batch_size=4), ALL),
    "a list": (lambda: list(pictures().split(5)), ALL),
}


@pytest.mark.parametrize("name", DRAWN)
def test_every_item_of_a_loader_comes_once_in_order_and_no_other(name):
    """Items that a sampler holds out of a data set are held out of probes, too."""
    made, wanted = DRAWN[name]
    for batches in (InOrder(made()), Dealt(made()), Loaders(made(), made()).val_dataloader()):
        loaded = list(batches)
        assert seen(loaded) == wanted
        assert numbers(loaded) == list(range(len(wanted)))
        assert seen(batches) == wanted  # again


def test_a_sampler_that_never_ends_is_asked_once_and_leaves_no_trace():
    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    endless = InOrder(loader(sampler=Forever()))
    found = endless.plan.items.tolist()
    assert found == sorted(set(found))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert seen(endless) == found


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("world", [2, 3, 50])
def test_ranks_have_the_batches_of_one_process_in_turn(monkeypatch, name, world):
    made = DRAWN[name][0]
    whole, shares = list(InOrder(made())), []
    for rank in range(world):
        monkeypatch.setattr(in_order, "place", partial(tuple, (rank, world)))
        shares.append(list(dealt := Dealt(made())))
        if name != "a stream":
            assert len(dealt) == len(shares[-1])
    assert len({len(share) for share in shares}) == 1  # no rank waits for another
    turns = [batch for turn in zip(*shares, strict=True) for batch in turn]
    mine = [batch for batch in turns if not batch.get("spare")]
    assert seen(mine) == seen(whole)
    assert numbers(mine) == numbers(whole)
    spare = [batch for batch in turns if batch.get("spare")]
    assert len(spare) == -len(whole) % world
    assert all(torch.equal(batch["index"], whole[-1]["index"]) for batch in spare)


def test_a_stream_does_not_say_how_long_it_is_until_it_is_kept():
    stream = DRAWN["a stream"][0]
    with pytest.raises(TypeError, match="length"):
        len(Dealt(stream()))
    assert len(InOrder(stream())) == 6


def test_a_share_reads_its_own_items_alone():
    """Every helper of a probe in shards loaded all batches."""

    read = []

    class Counted(TensorDataset):
        def __getitem__(self, number):
            read.append(number)
            return super().__getitem__(number)

    assert len(list(InOrder(DataLoader(Counted(pictures()), batch_size=4)).shard(1, 3))) == 2
    assert read == [*range(4, 8), *range(16, 20)]


def test_of_more_items_a_choice_that_is_always_the_same_is_taken():
    """Folders come class by class: the first items are of one class."""
    data = Loaders(loader())
    few = list(data.ordered("train", 9))
    assert seen(few) == seen(data.ordered("train", 9)) == sorted(seen(few))
    assert len(seen(few)) == 9
    assert len(torch.cat([batch["y"] for batch in few]).unique()) == 3
    assert seen(Loaders(DRAWN["a stream"][0]()).ordered("train", 9)) == list(range(12))


def test_what_a_loader_was_told_of_its_workers_is_kept():
    def begin(number):
        pass

    def joined(items):
        return torch.stack([x for x, _ in items])

    told = loader(num_workers=1, worker_init_fn=begin, collate_fn=joined, timeout=60, prefetch_factor=3)
    _, mine = InOrder(told)._reader
    assert (mine.num_workers, mine.worker_init_fn, mine.collate_fn) == (1, begin, joined)
    assert (mine.timeout, mine.prefetch_factor, mine.persistent_workers) == (60, 3, False)


def test_rows_that_a_collate_fn_adds_or_leaves_out_are_numbered_apart():
    def twice(items):
        return torch.cat([torch.stack([x for x, _ in items])] * 2)

    def without_first(items):
        return torch.stack([x for x, _ in items][1:])

    for made, rows in ((twice, 2 * ITEMS), (without_first, ITEMS - 6)):
        found = numbers(InOrder(loader(collate_fn=made)))
        assert len(set(found)) == len(found) == rows


class Own(pl.LightningDataModule):
    """A textbook module: it prepares, and changes batches, as its loader makes them, where the network is."""

    def __init__(self, labelled: bool = True, count: int = 8):
        super().__init__()
        self.save_hyperparameters()
        self.labelled, self.count = labelled, count
        self.prepared, self.ended, self.trained_by = 0, [], None

    def prepare_data(self):
        self.prepared += 1

    def setup(self, stage):
        assert self.prepared
        self.trained_by = self.trainer

    def made(self, count):
        x, y = torch.zeros(count, 3, 16, 16), torch.arange(count) % 2
        return DataLoader(TensorDataset(*((x, y) if self.labelled else (x,))), batch_size=3)

    def train_dataloader(self):
        return self.made(self.count)

    def val_dataloader(self):
        return self.made(self.count)

    def on_after_batch_transfer(self, batch, number):
        if not self.labelled:
            (x,) = batch
            return x + 0.5
        x, y = batch
        return x + 0.5, y

    def teardown(self, stage):
        self.ended.append(stage)


class Predicts(Own):
    def predict_dataloader(self):
        return self.made(5)


def few(folder, data, **options):
    backbone = pretext.TorchVision("resnet18", stem="small", stem_stride=2, width=0.0625)
    module = pretext.Pretrainer(backbone, {"turn": pretext.Rotation})
    return pretext.fit(module, data, folder, **{"accelerator": "cpu", "max_epochs": 1, **options})


@pytest.mark.parametrize("labelled", [True, False])
def test_the_hooks_of_a_users_own_module_get_what_its_loader_makes(tmp_path, labelled):
    shown = []

    class Look(pl.Callback):
        def on_train_batch_start(self, trainer, module, batch, number):
            shown.append(float(batch[0].mean() if labelled else batch.mean()))

        def on_validation_batch_start(self, trainer, module, batch, *rest):
            shown.append(float(batch["x"].mean()))

    own = Own(labelled)
    run = few(tmp_path / "run", own, callbacks=[Look()])
    assert len(shown) == 6
    assert set(shown) == {0.5}
    assert (own.prepared, own.ended, own.trained_by) == (1, ["fit"], own.trainer)
    assert run.steps == 3
    assert "test/loss" in pretext.test(run, accelerator="cpu")
    found = pretext.predict(run, accelerator="cpu")
    assert found.index.tolist() == list(range(8))


def test_a_probe_says_that_it_calls_no_hook():
    data = Adapted(Own())
    with pytest.warns(UserWarning, match="Own yield: its on_after_batch_transfer is for training"):
        assert [float(batch["x"].max()) for batch in data.ordered("train")] == [0.0] * 3
    data.ordered("train")  # without another word


def test_a_loader_of_its_own_is_predicted_on(tmp_path):
    run = few(tmp_path / "run", Predicts())
    assert len(pretext.predict(run, accelerator="cpu").index) == 5


def test_a_module_that_saves_its_options_is_written_and_others_are_not(tmp_path):
    """So the command line can go on with the run."""
    own = few(tmp_path / "own", Own(count=9), max_epochs=2, max_steps=1)
    assert own.is_written
    text = yaml.safe_load((tmp_path / "own" / "config.yaml").read_text())
    assert text["data"] == {"class_path": "test_in_order.Own", "init_args": {"count": 9}}
    assert options_of(own.data) == {"count": 9}
    plain = pl.LightningDataModule()
    plain.train_dataloader = loader
    assert options_of(Adapted(plain)) == {}


def test_several_loaders_to_evaluate_on_are_refused_before_training(tmp_path):
    class Two(Own):
        def val_dataloader(self):
            return [self.made(4), self.made(4)]

    with pytest.raises(ValueError, match="several loaders to evaluate on; give one; ConcatDataset"):
        few(tmp_path / "run", Two())
    assert not (tmp_path / "run").exists()


def test_values_out_of_range_are_found_in_validation_too(tmp_path):
    good = torch.rand(8, 3, 16, 16)
    train, val = (DataLoader(TensorDataset(x), batch_size=4) for x in (good, good * 255))
    with pytest.raises(ValueError, match="divide by 255"):
        few(tmp_path / "run", {"train": train, "val": val})


def test_hooks_that_a_module_does_not_have_are_lightnings():
    plain = Adapted(pl.LightningDataModule())
    assert "on_after_batch_transfer" not in vars(plain)
    assert "state_dict" not in vars(plain)
