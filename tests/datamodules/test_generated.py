"""Pictures without end: other ones in every epoch, each by its key alone."""

import pytest
import torch

from datamodules import DataError, Generated, Splitting
from pretext import Shapes


def module(**options):
    return Generated(Shapes(16), **({"train_items": 40, "test_items": 12, "batch_size": 8} | options))


def items(loader):
    """Map what a loader yields, by index."""
    return {
        int(i): (x, int(y)) for batch in loader for i, x, y in zip(batch["index"], batch["x"], batch["y"], strict=True)
    }


def trained(data, epoch):
    loader = data.train_dataloader()
    loader.set_epoch(epoch)
    return items(loader)


def alike(some, other):
    return {i for i in some if i in other and torch.equal(some[i][0], other[i][0]) and some[i][1] == other[i][1]}


def test_an_epoch_shows_other_pictures_and_an_index_names_one_for_ever():
    data = module()
    first, second = trained(data, 0), trained(data, 1)
    assert set(first) < set(range(40))
    assert set(second) < set(range(40, 80))
    shown = [x.numpy().tobytes() for x, _ in (first | second).values()]
    assert len(set(shown)) == len(shown) == 64
    assert alike(first, items(data.ordered("train"))) == set(first)
    assert alike(second, trained(module(seed=7, batch_size=16), 1)) >= set(second) & set(trained(module(seed=7), 1))
    assert set(items(data.val_dataloader())) == set(range(40)) - {i % 40 for i in first | second}
    assert not alike(trained(module(content=1), 0), first)
    train = {x.numpy().tobytes() for x, _ in items(data.ordered("train")).values()}
    assert not train & {x.numpy().tobytes() for x, _ in items(data.ordered("test")).values()}


def test_labels_are_what_is_drawn():
    data = module()
    assert data.classes == Shapes.classes
    every = items(data.ordered("train"))
    assert len(every) == 40
    assert len({y for _, y in every.values()}) == 6

    class Told:
        """Draws its label as a grey level."""

        classes = ("dark", "bright")

        def sample(self, count, generator):
            return torch.rand(count, 1, generator=generator)

        def decode(self, latents):
            return latents[:, :, None, None].expand(-1, 3, 8, 8)

        def labels(self, latents):
            return (latents[:, 0] > 0.5).long()

    told = Generated(Told(), train_items=30)
    assert told.classes == ["dark", "bright"]
    for x, y in items(told.ordered("train")).values():
        assert (float(x.float().mean()) > 127.5) == bool(y)


def test_a_limit_makes_a_set_that_ends():
    data = module(split=Splitting(limit=20))
    first, second = trained(data, 0), trained(data, 1)
    assert set(first) | set(second) <= set(range(20))
    assert alike(first, second) == set(first) & set(second) != set()
    whole = {x.numpy().tobytes() for x, _ in items(module().ordered("train")).values()}
    assert {x.numpy().tobytes() for x, _ in items(data.ordered("train")).values()} < whole


def test_a_fingerprint_goes_by_what_is_drawn():
    same = module(seed=3, batch_size=4).fingerprint("train")
    assert module().fingerprint("train") == same
    others = [module(content=1), module(train_items=41), module(split=Splitting(limit=20))]
    prints = [data.fingerprint("train") for data in others] + [Generated(Shapes(16, "textured")).fingerprint("train")]
    assert len({same, module().fingerprint("test"), *prints}) == 6


class Broken:
    def __init__(self, picture):
        self.picture = picture

    def sample(self, count, generator):
        return torch.zeros(count, 1)

    def decode(self, latents):
        return self.picture.expand(len(latents), -1, -1, -1)


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (torch.full((3, 8, 8), torch.nan), "Generated: Broken made pixels from nan to nan, but wanted are RGB"),
        (torch.full((3, 8, 8), -0.5), "Generated: Broken made pixels from -0.5 to -0.5"),
        (torch.zeros(3, 8, 9), r"Generated: Broken made \(8, 3, 8, 9\) of 8 latents, but has to make \(N, 3, S, S\)"),
    ],
)
def test_what_is_no_picture_is_told_of_in_a_line(picture, message):
    data = Generated(Broken(picture), train_items=8, batch_size=8)
    with pytest.raises(DataError, match=message):
        next(iter(data.ordered("train")))
    assert data.classes == []
    with pytest.raises(DataError, match="train_items=0, test_items=1, but wants at least 1 of each"):
        Generated(Shapes(), train_items=0, test_items=1)
