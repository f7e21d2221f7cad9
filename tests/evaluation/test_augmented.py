from functools import partial

import pytest
import torch
from nets import TinyNet
from sklearn.datasets import load_digits

from datamodules.images.digits import Digits
from pretext.core.rng import rng
from pretext.evaluation.augmented import Augmented, stacked, views_of
from pretext.evaluation.embed import Cache, Embedded, embed
from pretext.evaluation.quality import alignment, quality_of_views
from pretext.views.augment import Augment

JITTER = Augment(crop=8, pad=2, brightness=0.4)


def batches(count=100, size=32):
    """Digits as uint8 RGB canvases of 8 px, in batches."""
    images, labels = load_digits(return_X_y=True)
    x = torch.from_numpy(images).view(-1, 1, 8, 8).mul(255 / 16).round().to(torch.uint8).expand(-1, 3, -1, -1)
    index = torch.arange(count)
    return [{"x": x[i], "y": torch.from_numpy(labels)[i], "index": i} for i in index.split(size)]


def net():
    torch.manual_seed(0)
    return TinyNet()


def pixels(augmented):
    return torch.cat([batch["x"] for batch in augmented])


def seen(augment=JITTER, seed=0, k=0, **options):
    return embed(net(), Augmented(batches(**options), augment, seed, k), view=lambda x: x)


def test_a_view_is_the_augmentation_of_whole_batches_with_the_promised_chance():
    loaded = batches()
    for batch, view in zip(loaded, Augmented(loaded, JITTER, seed=5, k=3), strict=True):
        chance = rng("cpu", 5, "views", 3, int(batch["index"][0]))
        assert torch.equal(view["x"], JITTER(batch["x"], chance))
        assert torch.equal(view["y"], batch["y"])
        assert torch.equal(view["index"], batch["index"])
        assert batch["x"].dtype == torch.uint8  # what was loaded is untouched


def test_the_same_key_gives_the_same_view_and_another_key_another():
    views = Augmented(batches(), JITTER, 0, 0)
    state = torch.get_rng_state()
    first = pixels(views)
    assert torch.equal(first, pixels(views))
    assert torch.equal(torch.get_rng_state(), state)
    for other in (Augmented(batches(), JITTER, 0, 1), Augmented(batches(), JITTER, 1, 0)):
        assert not torch.equal(first, pixels(other))
    assert len({str(Augmented([], JITTER, seed, k)) for seed in (0, 1) for k in (0, 1)}) == 4


def test_a_batch_does_not_depend_on_those_before_it():
    whole = list(Augmented(batches(), JITTER, 0, 2))
    assert torch.equal(whole[2]["x"], next(iter(Augmented(batches()[2:], JITTER, 0, 2)))["x"])


def test_views_are_embedded_like_the_set_itself():
    backbone = net().eval()
    embedded = embed(backbone, Augmented(batches(), JITTER, 0, 1), view=lambda x: x)
    with torch.no_grad():
        stages = backbone(pixels(Augmented(batches(), JITTER, 0, 1))).stages
    for name, values in stages.items():
        assert torch.allclose(embedded.mean[name].float(), values.mean((2, 3)), rtol=1e-3, atol=1e-4)
    assert torch.equal(embedded.labels, torch.cat([batch["y"] for batch in batches()]))


def test_it_goes_through_a_data_modules_ordered_split():
    data = Digits(size=8, batch_size=256)
    data.setup("test")
    views = Augmented(data.ordered("test"), Augment(flip=False), 0, 0)
    assert len(views) == len(list(views)) == 2
    assert torch.equal(pixels(views), torch.cat([batch["x"] for batch in data.ordered("test")]).float() / 255)


def test_modalities_are_augmented_alike():
    clips = torch.arange(8 * 8, dtype=torch.uint8).view(1, 1, 1, 8, 8).expand(4, 3, 2, 8, 8)
    loaded = [{"x": {"rgb": clips, "grey": clips[:, :1]}, "index": torch.arange(4)}]
    x = next(iter(Augmented(loaded, Augment(crop=5), 0, 0)))["x"]
    assert x["rgb"].shape == (4, 3, 2, 5, 5)
    assert torch.equal(x["rgb"][:, :1], x["grey"])


def test_parts_of_one_item_are_augmented_each_and_averaged():
    loaded = [
        {"x": batch["x"].repeat_interleave(2, 0), "index": batch["index"].repeat_interleave(2)} for batch in batches()
    ]
    views = Augmented(loaded, JITTER, 0, 0)
    assert not torch.equal(*pixels(views)[:2])
    embedded = embed(net(), views, view=lambda x: x)
    rows = embed(net(), [{**b, "index": torch.arange(len(b["x"]))} for b in views], view=lambda x: x)
    average = rows.mean["conv2"].float().view(-1, 2, 16).mean(1)
    assert torch.allclose(embedded.mean["conv2"].float(), average, rtol=2e-3, atol=2e-3)


def test_a_cache_tells_views_apart_by_their_names(tmp_path):
    def cached(k):
        views = Augmented(batches(), JITTER, 0, k)
        return embed(net(), views, view=lambda x: x, cache=Cache(tmp_path, "digits", str(views))).mean["conv2"]

    one, two, again = cached(0), cached(1), cached(0)
    assert torch.equal(one, again)
    assert not torch.equal(one, two)


def test_stacked_views_are_rows_one_after_the_other_of_one_stage_alone():
    views = [seen(k=k) for k in range(3)]
    for stage in ("conv1", "conv2"):
        together = stacked(views, stage)
        assert all(torch.equal(part, view.grid[stage]) for part, view in zip(together.split(100), views, strict=True))


def test_views_of_an_item_stand_side_by_side():
    views = [seen(k=k) for k in range(3)]
    side_by_side = views_of(views, "conv2")
    assert side_by_side.shape == (100, 3, 16)
    assert all(torch.equal(side_by_side[:, k], view.mean["conv2"]) for k, view in enumerate(views))
    assert quality_of_views(side_by_side[:, :2])["alignment"] == alignment(*(v.mean["conv2"] for v in views[:2]))


def test_views_rounded_differently_join_in_the_finer_type():
    half, full = (Embedded({"a": x}, {"a": x}, torch.arange(4)) for x in (torch.rand(4, 3).half(), torch.rand(4, 3)))
    assert stacked([half, full], "a").dtype == views_of([half, full], "a").dtype == torch.float32


def test_without_an_augmentation_views_agree_and_stronger_ones_part_them():
    def apart(augment):
        return quality_of_views(views_of([seen(augment, k=k) for k in range(3)], "conv2"))["alignment"]

    still, weak, strong = apart(Augment(flip=False)), apart(Augment(8, pad=1)), apart(Augment(8, pad=4, brightness=0.8))
    assert still == 0
    assert 0 < weak < strong < 2


def test_errors_say_what_is_wrong():
    with pytest.raises(ValueError, match="Augmented got a generator"):
        Augmented((batch for batch in batches()), JITTER)
    with pytest.raises(ValueError, match="k=-1"):
        Augmented(batches(), JITTER, k=-1)
    for join in (partial(stacked, stage="conv1"), partial(views_of, stage="conv1")):
        with pytest.raises(ValueError, match="got no views"):
            join([])
        with pytest.raises(ValueError, match=r"view 0 has .*\(100, 8\).*, view 1 .*\(64, 8\)"):
            join([seen(), seen(count=64)])
        with pytest.raises(ValueError, match="view 1 has other labels"):
            join([seen(), seen()._replace(labels=torch.zeros(100, dtype=torch.long))])
    with pytest.raises(ValueError, match="stage='fc'; the views have conv1, conv2"):
        views_of([seen()], "fc")
