import numpy as np
import pytest
import torch
from folders import labelled_folder
from labelled_sets import Labelled
from torch.nn.functional import cosine_similarity

from datamodules import DataError, Digits, Pairs, Photos, Splitting
from datamodules.images.variants import VARIANTS, patches, varied

PLAIN = Splitting(val=0.25)


def numbered(count, start=0, classes="ab", side=4):
    """Pictures that say their own number, in the order of their positions."""
    x = torch.arange(start, start + count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, side, side).contiguous()
    return Labelled((x, torch.arange(count) % 2), (x[:4], torch.arange(4) % 2), classes, val=0.25)


def batches_of(data):
    """What training sees, as Lightning's loader of several yields it: a batch, its number, that of its loader."""
    return [batch for batch, _, _ in data.train_dataloader()]


class TestTraining:
    def test_half_of_a_batch_is_of_each_domain_and_the_targets_has_no_labels(self):
        for pair in batches_of(Pairs(numbered(40), numbered(24, start=100), batch_size=8)):
            assert set(pair["source"]) == {"x", "index", "y", "domain"}
            assert set(pair["target"]) == {"x", "index", "domain"}
            assert (len(pair["source"]["x"]), len(pair["target"]["x"])) == (4, 4)
            assert (pair["source"]["domain"], pair["target"]["domain"]) == ("source", "target")

    def test_the_longer_set_is_seen_once_and_the_shorter_again_in_other_orders(self):
        batches = batches_of(Pairs(numbered(40), numbered(8, start=100), batch_size=12))
        mine, theirs = (torch.cat([batch[name]["index"] for batch in batches]) for name in ("source", "target"))
        assert len(mine) == len(theirs) == 30
        assert len(set(mine.tolist())) == 30
        rounds = theirs.view(5, 6)  # of the 8 items of the target 6 are trained on
        assert all(len(set(one.tolist())) == 6 for one in rounds)
        assert len({tuple(one.tolist()) for one in rounds}) > 1

    def test_the_order_hangs_on_seed_and_epoch_alone(self):
        def orders(seed, epoch):
            loader = Pairs(numbered(16), numbered(40, start=100), batch_size=8, seed=seed).train_dataloader()
            for part in loader.iterables.values():
                part.set_epoch(epoch)
            batches = [batch for batch, _, _ in loader]
            return [[batch[name]["index"].tolist() for batch in batches] for name in ("source", "target")]

        assert orders(0, 0) == orders(0, 0)
        assert orders(0, 0) != orders(1, 0)
        assert orders(0, 0)[0] != orders(0, 1)[0]

    def test_sets_of_one_size_do_not_meet_in_one_order(self):
        batches = batches_of(Pairs(numbered(40), numbered(40, start=100), batch_size=8))
        assert any(not torch.equal(batch["source"]["index"], batch["target"]["index"]) for batch in batches)

    def test_a_variant_of_one_set_shows_no_picture_in_both_domains(self):
        data = Pairs(numbered(40), variant="negative", batch_size=4)
        batches = batches_of(data)
        mine, theirs = (set(torch.cat([b[name]["index"] for b in batches]).tolist()) for name in ("source", "target"))
        assert len(mine) == len(theirs) == 14  # of 30 in two halves of 15, in batches of two
        assert not mine & theirs
        first = batches[0]["target"]
        assert torch.equal(first["x"][:, 0, 0, 0].long(), 255 - first["index"])

    def test_the_targets_labels_take_the_place_of_the_sources_where_that_is_asked_for(self):
        data = Pairs(numbered(16), numbered(16, start=100), labelled="target", batch_size=4)
        for pair in batches_of(data):
            assert pair["source"]["x"].min() >= 100
            assert torch.equal(pair["source"]["y"], pair["source"]["index"] % 2)
            assert "y" not in pair["target"]


class TestEvaluation:
    def test_validation_has_the_sources_labels_and_not_the_targets(self):
        batches = list(Pairs(numbered(40), numbered(24, start=100), batch_size=8).val_dataloader())
        assert [batch["domain"] for batch in batches] == ["source"] * 2 + ["target"]
        assert ["y" in batch for batch in batches] == [True, True, False]
        assert sum(len(batch["x"]) for batch in batches) == 16

    def test_the_test_has_both_with_labels(self):
        batches = list(Pairs(numbered(40), numbered(24, start=100), batch_size=8).test_dataloader())
        assert [(batch["domain"], len(batch["y"])) for batch in batches] == [("source", 4), ("target", 4)]

    def test_training_and_validation_share_nothing(self):
        data = Pairs(numbered(40), variant="negative", batch_size=2)
        both = {name: set() for name in ("source", "target")}
        for batch in data.both():
            both[batch["domain"]] |= set(batch["index"].tolist())
        held = {int(k) for batch in data.val_dataloader() for k in batch["index"]}
        assert {len(items) for items in both.values()} == {15}
        assert not held & (both["source"] | both["target"])
        assert len(held) == 10

    def test_what_reads_one_set_reads_the_target(self):
        data = Pairs(numbered(40), numbered(24, start=100))
        x = torch.cat([batch["x"] for batch in data.ordered("train")])
        assert x[:, 0, 0, 0].tolist() == list(range(100, 124))
        night = Pairs(numbered(40), numbered(24, start=100), variant="night")
        assert night.fingerprint("test") != data.fingerprint("test")


class TestRefusals:
    def test_other_classes_are_named(self):
        data = Pairs(numbered(8, classes="ab"), numbered(8, classes="xy"))
        with pytest.raises(DataError, match=r"source has 2 classes \(a, b\), the target 2 classes \(x, y\); give"):
            _ = data.classes
        with pytest.raises(DataError, match="the source has no labels; give one with a folder for each class"):
            _ = Pairs(numbered(8, classes=""), numbered(8)).classes

    @pytest.mark.parametrize(
        ("wrong", "told"),
        [
            ({}, "Pairs got no target, but wants a target, or a variant"),
            ({"variant": "night", "batch_size": 3}, "batch_size=3, but wants an even number"),
            ({"variant": "fog"}, "variant='fog', but wants one of grey, negative"),
        ],
    )
    def test_what_is_out_of_range_is_named(self, wrong, told):
        with pytest.raises(DataError, match=told):
            Pairs(numbered(8), **wrong)


def test_folders_stand_for_class_folders_of_pictures_and_the_target_may_have_none(tmp_path):
    root = labelled_folder(tmp_path / "data", count=4)
    data = Pairs(root, Photos(root / "train", canvas=24), variant="grey", canvas=24, batch_size=4, split=PLAIN)
    assert data.classes == ["cat", "dog"]
    pair, *_ = next(iter(data.train_dataloader()))
    assert pair["source"]["x"].shape == pair["target"]["x"].shape == (2, 3, 24, 24)
    assert torch.equal(pair["target"]["x"][:, 0], pair["target"]["x"][:, 2])
    assert not torch.equal(pair["source"]["x"][:, 0], pair["source"]["x"][:, 2])


class TestVariants:
    x = (patches(6, 32, torch.Generator().manual_seed(1)) * 255).to(torch.uint8)
    index = torch.arange(6)

    @pytest.mark.parametrize("variant", VARIANTS)
    def test_keep_what_pictures_are_and_are_the_same_for_an_item_for_ever(self, variant):
        one = varied(self.x, variant, self.index)
        assert (one.shape, one.dtype) == (self.x.shape, torch.uint8)
        assert not torch.equal(one, self.x)
        order = torch.tensor([4, 1])
        assert torch.equal(varied(self.x[order], variant, self.index[order]), one[order])

    def test_twice_negative_is_the_picture(self):
        twice = varied(varied(self.x, "negative", self.index), "negative", self.index)
        assert torch.equal(twice, self.x)

    def test_grey_is_grey_of_the_same_brightness(self):
        grey = varied(self.x, "grey", self.index)
        luma = (self.x.float() * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1)
        assert (grey.float() - luma[:, None]).abs().max() <= 0.501
        again = varied(grey, "grey", self.index)
        assert torch.equal(again, grey)

    def test_an_area_of_one_colour_has_no_edges_and_is_not_blurred(self):
        flat = torch.full((1, 3, 16, 16), 90, dtype=torch.uint8)
        assert (varied(flat, "edges", self.index[:1]) == 255).all()
        assert (varied(flat, "blur", self.index[:1]) == 90).all()

    def test_a_step_is_an_edge_where_it_is(self):
        step = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
        step[..., 8:] = 255
        dark = (varied(step, "edges", self.index[:1])[0, 0] < 128).any(0)
        assert dark.nonzero().flatten().tolist() == [7, 8]

    def test_night_is_dark_and_bluish(self):
        mean = varied(self.x, "night", self.index).float().mean((0, 2, 3))
        assert mean.max() < 0.4 * self.x.float().mean()
        assert mean[2] > mean[0]


class TestDigitsM:
    def test_labels_and_splits_are_those_of_the_plain_digits(self):
        plain, m = (Digits(size=8, domain=domain) for domain in ("plain", "m"))
        for split in ("train", "test"):
            labels = [torch.cat([batch["y"] for batch in data.ordered(split)]) for data in (plain, m)]
            assert torch.equal(*labels)

    def test_the_digit_is_the_noise_turned_over(self):
        """|ink - noise|: 1 less the noise where there is ink, and the noise itself elsewhere."""
        plain, m = (next(iter(Digits(size=16, domain=domain).ordered("test"))) for domain in ("plain", "m"))
        noise = patches(1797, 16, torch.Generator().manual_seed(0))
        ink, clear = plain["x"][:, :1] > 128, (plain["x"][:, :1].long() - 128).abs() > 1  # half of white is none
        x = m["x"].float() / 255
        for i in range(4):
            off = (torch.where(ink[i], 1 - noise, noise) - x[i]).abs() * clear[i]
            assert (off.amax((1, 2, 3)) < 0.003).any()

    def test_items_have_noises_of_their_own(self):
        x = next(iter(Digits(size=16, domain="m").ordered("train")))["x"].float().flatten(1)
        x = x - x.mean(1, keepdim=True)
        pairs = cosine_similarity(x[:32, None], x[None, :32], dim=2)
        assert np.median(pairs[~torch.eye(32, dtype=torch.bool)].abs()) < 0.4

    def test_an_unknown_domain_is_refused(self):
        with pytest.raises(DataError, match="Digits got domain='n'"):
            Digits(domain="n")
