"""Episodes: keyed chance, whose items, classes that are held out, and how batches of them come about."""

import json
import math

import pytest
import pytorch_lightning as pl
import torch
from labelled_sets import Labelled, tones

from datamodules import Counts, DataError, Digits, Episodes, HeldClasses, Sinusoids, Splitting
from datamodules.loader import Memory

SMALL = Counts(train=12, val=6, test=8)


def flat(count=240, classes=12, names=True):
    """Pictures whose every pixel is the item's number; class is number modulo classes."""
    numbers = torch.arange(count)
    x = numbers.to(torch.uint8)[:, None, None, None].expand(count, 3, 4, 4).contiguous()
    part = (x, numbers % classes)
    return Labelled(part, part, range(classes) if names else (), val=0.4)


def episodes(data=None, **options):
    options = {"ways": 3, "shots": 2, "queries": 3, "batch_size": 2, "count": SMALL, **options}
    return Episodes(flat() if data is None else data, **options)


def batches(data, part="train", epoch=0):
    loader = {"train": data.train_dataloader, "val": data.val_dataloader, "test": data.test_dataloader}[part]()
    if part == "train":
        loader.set_epoch(epoch)
    return list(loader)


def test_an_episode_has_n_classes_of_k_examples_and_q_questions_and_no_item_twice():
    for batch in batches(episodes()):
        assert batch["x"].shape == (2 * 15, 3, 4, 4)
        assert torch.equal(batch["x"][:, 0, 0, 0].long(), batch["index"])  # rows are the items that they are called
        for rows in torch.arange(30).split(15):
            support, y, index = (batch[key][rows] for key in ("support", "y", "index"))
            assert support.tolist() == [True] * 6 + [False] * 9
            assert y[:6].bincount().tolist() == [2, 2, 2]
            assert y[6:].bincount().tolist() == [3, 3, 3]
            assert len(index.unique()) == 15
            named = {(int(a), int(b)) for a, b in zip(y, index % 12, strict=True)}
            assert len(named) == 3  # one class of the data for each number within the episode


def test_the_same_key_is_the_same_episode_whatever_the_batch_and_another_one_differs():
    def by_number(found):
        joined = {}
        for batch in found:
            for place, number in enumerate(batch["episode"].tolist()):
                joined[number] = batch["index"][place * 15 : place * 15 + 15].tolist()
        return joined

    one = by_number(batches(episodes()))
    assert set(one) == set(range(12))
    assert by_number(batches(episodes(batch_size=3))) == one
    assert by_number(batches(episodes(seed=1))) != one
    assert by_number(batches(episodes(), epoch=1)) != one
    for part in ("val", "test"):
        fixed = by_number(batches(episodes(), part))
        assert by_number(batches(episodes(seed=1, batch_size=4), part)) == fixed
        assert by_number(batches(episodes(held=HeldClasses(draw=1)), part)) != fixed


def test_a_resumed_pass_goes_on_with_the_next_episodes():
    whole = batches(episodes())
    loader = episodes().train_dataloader()
    loader.load_state_dict({"epoch": 0, "batch": 4})
    rest = list(loader)
    assert [batch["index"].tolist() for batch in rest] == [batch["index"].tolist() for batch in whole[4:]]


@pytest.mark.parametrize("held", [HeldClasses(), HeldClasses(val=3, test=4), HeldClasses(val=3, test=4, draw=2)])
def test_no_class_and_no_item_of_the_test_is_trained_on(held):
    data = episodes(held=held)
    seen = {part: torch.cat([b["index"] for b in batches(data, part)]) for part in ("train", "val", "test")}
    classes = {part: set((index % 12).tolist()) for part, index in seen.items()}
    train, val, test = map(set, held.divided(data, 12))
    assert classes["train"] <= train
    assert classes["test"] <= test
    assert not train & test
    assert classes["val"] <= (val or train)
    assert not set(seen["train"].tolist()) & set(seen["val"].tolist())  # items, also where classes are the same
    assert len(train | val | test) == 12


def test_turns_and_reversals_make_other_classes_of_the_same_items_in_training_alone():
    data = Episodes(Digits(size=8), ways=8, shots=1, queries=2, batch_size=1, count=SMALL, multiply="turns",
                    held=HeldClasses(test=8))  # fmt: skip
    plain = data.open("train").x
    turned = 0
    for batch in batches(data):
        ways = [int(next(t for t in range(4) if torch.equal(x, plain[i].rot90(t, (-2, -1)))))
                for x, i in zip(batch["x"], batch["index"], strict=True)]  # fmt: skip
        turned += sum(way > 0 for way in ways)
    assert turned > 0
    test = batches(data, "test")[0]
    assert torch.equal(test["x"], data.open("test").x[test["index"]])
    sound = Labelled(tones(40), tones(40, 1), ("slow", "fast"))
    data = Episodes(sound, ways=2, shots=1, queries=2, count=SMALL, multiply="reversal", held=HeldClasses(test=1))
    x, index = (torch.cat([batch[key] for batch in batches(data)]) for key in ("x", "index"))
    backwards = (x == sound.open("train").x[index].flip(-1)).flatten(1).all(1)
    assert 0.2 < backwards.float().mean() < 0.8


def test_without_labels_classes_are_pretext_answers():
    data = episodes(flat(names=False), ways=4, multiply="turns")
    assert data.outputs == 4
    for part in ("train", "val", "test"):
        assert batches(data, part)[0]["y"].unique().tolist() == [0, 1, 2, 3]


def test_clusters_take_the_classes_place_in_training_and_items_of_test_classes_stay_out(tmp_path):
    data = flat()
    labels = [torch.arange(240) // 40, torch.arange(240) // 48]  # no class has any part in them
    labels[0][:3] = -1  # files that could not be read
    content = {"listed": data.listed("train"), "partitions": [part.tolist() for part in labels]}
    file = tmp_path / "labels.json"
    file.write_text(json.dumps(content))
    own = episodes(data, labels=file)
    test = set(own.held.divided(own, 12)[2])
    for batch in batches(own):
        assert not set((batch["index"] % 12).tolist()) & test
        for rows in torch.arange(30).split(15):
            y, index = batch["y"][rows], batch["index"][rows]
            assert any(
                len({(a, b) for a, b in zip(y.tolist(), part[index].tolist(), strict=True)}) == 3 for part in labels
            )
    tested = torch.cat([batch["index"] for batch in batches(own, "test")])
    assert set((tested % 12).tolist()) <= test
    with pytest.raises(DataError, match="of other items, but wants labels of these 120 items"):
        episodes(flat(120), labels=file).train_dataloader()
    with pytest.raises(DataError, match="there is no file of labels"):
        episodes(data, labels=tmp_path / "none.json").train_dataloader()


def test_metadata_of_an_episode_is_the_mean_of_its_classes(tmp_path):
    file = tmp_path / "facts.csv"
    file.write_text("class,size,kind\n" + "".join(f"{n},{n * n},{'odd' if n % 2 else 'even'}\n" for n in range(12)))
    data = episodes(metadata=file, multiply="turns", held=HeldClasses(test=6))
    assert data.facts == 1 + 2 + 4
    for part in ("train", "test"):
        for batch in batches(data, part):
            for rows, facts in zip(torch.arange(30).split(15), batch["metadata"], strict=True):
                index, y = batch["index"][rows], batch["y"][rows]
                numbers = torch.stack([index[y == way][0] % 12 for way in range(3)]).double()
                assert facts[0] == pytest.approx(float((numbers**2).mean()))
                assert facts[2] == pytest.approx(float((numbers % 2).mean()))
                assert float(facts[3:].sum()) == pytest.approx(1)
                assert part == "train" or facts[3] == 1
    (tmp_path / "uneven.csv").write_text("class,size\n" + "".join(f"{n},{0.1 * n + 0.037}\n" for n in range(12)))
    means: dict[tuple[int, ...], set[float]] = {}  # of each set of classes one, to the last bit: it is the task's name
    for batch in batches(episodes(metadata=tmp_path / "uneven.csv", held=HeldClasses(test=8), count=Counts(train=40))):
        for rows, facts in zip(torch.arange(30).split(15), batch["metadata"], strict=True):
            means.setdefault(tuple(sorted(set((batch["index"][rows] % 12).tolist()))), set()).add(float(facts[0]))
    assert len(means) == 4
    assert all(len(each) == 1 for each in means.values())
    (tmp_path / "short.csv").write_text("class,size\n0,1\n")
    with pytest.raises(DataError, match="without 1, 2, 3, but wants a row of equal length for each class"):
        episodes(metadata=tmp_path / "short.csv").train_dataloader()


class Torn(Memory):
    """A source some of whose items cannot be read."""

    def read(self, plan, pool=None):
        for positions in plan:
            good = positions[positions % 7 != 3]
            if len(good):
                yield next(iter(super().read([good])))


def test_an_episode_with_an_item_that_cannot_be_read_is_drawn_anew():
    data = episodes()
    source = data.open("train")
    data._sources["train"] = Torn(source.x, source.y)
    found = batches(data)
    assert [len(batch["index"]) for batch in found] == [30] * 6
    assert not (torch.cat([batch["index"] for batch in found]) % 7 == 3).any()
    assert all(torch.equal(batch["x"][:, 0, 0, 0].long(), batch["index"]) for batch in found)


def every(options):
    data = episodes(**options)
    return [batches(data, part) for part in ("train", "val", "test")]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"ways": 7}, r"Episodes got 6 classes for train and wants ways=7; lower ways.*, or multiply them"),
        ({"ways": 5, "held": HeldClasses(val=4, test=3)}, r"Episodes got 4 classes for val and wants ways=5.*test\)$"),
        ({"shots": 20}, r"Episodes got a class of \d+ items for train and wants shots \+ queries = 23; lower them"),
        ({"shots": 0}, r"Episodes got ways=3, shots=0, queries=3, but wants 2 classes"),
        ({"held": HeldClasses(val=6, test=6)}, r"held.val=6, held.test=6 of 12 classes, but wants"),
        ({"count": Counts(train=0)}, r"count.train=0"),
        ({"multiply": "mirrors"}, r"multiply='mirrors'"),
        ({"labels": "a", "metadata": "b"}, r"a cluster has no metadata"),
    ],
)
def test_what_cannot_be_is_told_in_a_line(options, told):
    with pytest.raises(DataError, match=told):
        every(options)


def test_a_probe_sees_the_items_of_the_other_module():
    data = episodes()
    assert data.classes == [str(n) for n in range(12)]
    assert torch.cat([batch["index"] for batch in data.ordered("train")]).tolist() == list(range(240))
    assert data.listed("test") == flat().listed("test")


def test_sinusoids_are_sines_of_a_drawn_amplitude_and_phase():
    data = Sinusoids(count=Counts(400, 5, 5), metadata=True)
    found = [batch for batch in batches(data) for _ in (0,)]
    x, y, facts = (torch.cat([batch[key] for batch in found]) for key in ("x", "y", "metadata"))
    amplitude, phase = facts[:, 0], torch.atan2(facts[:, 1], facts[:, 2])
    right = amplitude[:, None] * torch.sin(x.view(400, 20) - phase[:, None])
    torch.testing.assert_close(y.view(400, 20), right, rtol=0, atol=1e-5)
    for values, low, high in ((amplitude, 0.1, 5), (phase, 0, math.pi), (x, -5, 5)):
        assert values.min() >= low - 1e-6
        assert values.max() <= high + 1e-6
        error = (high - low) / math.sqrt(12 * values.numel())  # of the mean of a uniform draw
        assert float(values.mean()) == pytest.approx((low + high) / 2, abs=4 * error)
    assert found[0]["support"].tolist() == ([True] * 10 + [False] * 10) * 25
    again = batches(Sinusoids(count=Counts(400, 5, 5), batch_size=1))
    first = {int(n): row for b in found for n, row in zip(b["episode"], b["y"].view(25, 20), strict=True)}
    assert all(torch.equal(first[int(b["episode"])], b["y"].view(20)) for b in again)


def test_the_seed_of_the_other_modules_order_does_not_matter():
    one, other = (episodes(Digits(size=8, seed=s, split=Splitting(limit=400))) for s in (0, 1))
    assert torch.equal(batches(one)[0]["index"], batches(other)[0]["index"])
    assert isinstance(one, pl.LightningDataModule)
