"""Several processes embed a set as one would: here threads, each with a network of its own and a store between them."""

import copy
from datetime import timedelta
from threading import Thread

import pytest
import torch
from nets import TinyNet
from torch import distributed
from torch.utils.data import DataLoader, TensorDataset

from pretext import Loaders
from pretext.core.rng import rng
from pretext.evaluation.augmented import Augmented
from pretext.evaluation.embed import FeatureError, embed, evaluating, looking
from pretext.evaluation.shards import Crew, Sharing
from pretext.views.augment import Augment, unit

ITEMS = 22


def pictures(count=ITEMS, key=0):
    x = (torch.rand(count, 3, 16, 16, generator=rng("cpu", "crew", key)) * 255).to(torch.uint8)
    return x, torch.arange(count) % 3


def batches_of(size, count=ITEMS):
    x, y = pictures(count)
    index = torch.arange(count)
    return [{"x": a, "y": b, "index": i} for a, b, i in zip(*(part.split(size) for part in (x, y, index)), strict=True)]


def several_rows():
    """Clips of 6 videos: three, two, four ... rows of one index, which make one item."""
    index = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2, 3, 4, 4, 5, 5])
    x, y = pictures(len(index))
    cuts = [slice(0, 5), slice(5, 10), slice(10, 14)]
    return [{"x": x[cut], "y": y[index][cut], "index": index[cut]} for cut in cuts]


SETS = {
    "batches": lambda: batches_of(4),
    "fewer batches than processes": lambda: batches_of(ITEMS),
    "several rows of an item": several_rows,
    "a loader of a user's own": lambda: Loaders(
        DataLoader(TensorDataset(*pictures()), batch_size=4, shuffle=True)
    ).ordered("train"),
    "seen augmented": lambda: Augmented(batches_of(4), Augment(crop=12, scale=(0.3, 1.0)), k=3),
}


def shared(world, made, folder, net=None, spoil=None, cache=None):
    """Let a crew of so many embed a set; return what its leader has."""
    store, net = distributed.HashStore(), net or TinyNet(norm=False).eval()
    crews = [Crew(store, rank, world, folder) for rank in range(world)]
    ended = []

    def helps(crew):
        own = copy.deepcopy(net)
        with evaluating(own):
            for call in crew.calls():
                look = looking(own, unit, 9216, torch.float32, call.what[0])
                crew.help(call, lambda what: (look, (spoil or list)(made())))  # noqa: B023  (called at once)
        ended.append(crew.code)

    helpers = [Thread(target=helps, args=(crew,), daemon=True) for crew in crews[1:]]
    for helper in helpers:
        helper.start()
    code = 1
    try:
        found = embed(net, made(), unit, sharing=Sharing(crews[0], ("a set",)), cache=cache)
        code = 0
        return found
    finally:
        crews[0].dismiss(code)
        for helper in helpers:
            helper.join(timedelta(seconds=30).total_seconds())
        assert ended == [code] * (world - 1)
        assert not list(folder.glob("shards-*"))


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("name", SETS)
def test_what_a_crew_embeds_is_what_one_process_does_to_the_last_digit(tmp_path, name, world):
    torch.manual_seed(0)
    net = TinyNet(norm=False).eval()
    alone, together = embed(net, SETS[name](), unit), shared(world, SETS[name], tmp_path, net)
    assert torch.equal(alone.labels, together.labels)
    for mine, theirs in ((alone.mean, together.mean), (alone.grid, together.grid)):
        assert list(mine) == list(theirs)
        assert all(torch.equal(rows, theirs[stage]) for stage, rows in mine.items())
        assert all(rows.dtype == theirs[stage].dtype for stage, rows in mine.items())


def test_a_helper_that_fails_is_the_leaders_to_raise(tmp_path):
    def spoil(batches):
        raise OSError("a disk is gone")

    with pytest.raises(OSError, match="a disk is gone"):
        shared(2, SETS["batches"], tmp_path, spoil=spoil)


def test_nobody_looks_where_the_first_batch_is_bad(tmp_path):
    """The types of what is stored depend on it, so the helpers wait for them: they are told that there are none."""
    net = TinyNet(norm=False).eval()
    with torch.no_grad():
        next(net.parameters()).fill_(torch.nan)
    with pytest.raises(FeatureError, match="NaN"):
        shared(2, SETS["batches"], tmp_path, net)
    with pytest.raises(ValueError, match="no images"):
        shared(2, list, tmp_path)


def test_labels_of_another_type_than_before_are_refused():
    """They would be kept as the first ones are, and read as other numbers."""
    first, *rest = batches_of(4)
    mixed = [first, *({**batch, "y": batch["y"] / 2} for batch in rest)]
    with pytest.raises(ValueError, match=r"labels of torch\.int64, then torch\.float32"):
        embed(TinyNet(norm=False).eval(), mixed, unit)
