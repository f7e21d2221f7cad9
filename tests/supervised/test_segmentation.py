import json
from functools import partial

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from grouped import grouped
from nets import TinyNet, WaveNet
from omegaconf import OmegaConf
from pets import pets_folder
from PIL import Image
from torch import nn
from torch.optim import SGD

from datamodules import DataModule, Digits, PairedFiles, Splitting
from datamodules.images.pets import Pets
from datamodules.loader import Memory
from pretext import MultiModal, load
from pretext.core.rng import rng
from pretext.core.types import Backbone, Features
from pretext.evaluation import segment
from pretext.evaluation.segment import IGNORED, Colours
from pretext.supervised.mask_scores import score
from pretext.supervised.segmentation import Segmentation, mirrored, predicted
from pretext.supervised.segmentation_view import Shown, draw, palette
from pretext.training.callbacks import AtomicCheckpointIO, Checkpoint
from pretext.training.optimization import Optim

sgd = Optim(partial(SGD, lr=0.5, momentum=0.9))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Red ellipses before blue: the colour of a pixel is its class."""
    return pets_folder(tmp_path_factory.mktemp("data") / "pets", train=24, test=8)


def pets(root, **options):
    return Pets(root, **grouped(Pets, **{"canvas": 32, "batch_size": 8, **options}))


def trainer(folder, epochs=10, **options):
    return pl.Trainer(
        **{
            "max_epochs": epochs,
            "default_root_dir": folder,
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "accelerator": "cpu",
            "log_every_n_steps": 1,
            "num_sanity_val_steps": 0,
            **options,
        }
    )


def scored(module, data, folder, epochs=10):
    runner = trainer(folder, epochs)
    runner.fit(module, datamodule=data)
    runner.test(module, datamodule=data, verbose=False)
    return json.loads((folder / "score.json").read_text())


def state_of(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize(("backbone", "stage"), [(Colours, None), (TinyNet, "conv1")])
def test_a_mask_that_colours_give_away_is_learnt(root, tmp_path, backbone, stage):
    torch.manual_seed(0)
    result = scored(Segmentation(backbone=backbone(), stage=stage, optim=sgd), pets(root), tmp_path)
    assert result["miou"] > 0.9
    assert result["low"] <= result["miou"] <= result["high"] <= 1
    assert set(result["iou"]) == {"background", "pet"}
    assert sum(result["iou"].values()) / 2 == pytest.approx(result["miou"])
    assert result["items"] == 8


def test_chance_is_the_mean_iou_of_calling_everything_background(root, tmp_path):
    result = scored(Segmentation(backbone=Colours(), optim=sgd), pets(root), tmp_path, 1)
    masks = torch.cat([batch["y"] for batch in pets(root).ordered("test")])
    background = float((masks == 0).sum() / (masks != IGNORED).sum())
    assert background > 0.6  # the ellipses are small
    assert result["chance"] == pytest.approx(background / 2)


def test_class_maps_of_paired_files_are_read_as_masks(tmp_path):
    """The colour of a pixel is its class, in folders of one's own."""
    draw = np.random.default_rng(0)
    for folder in ("images", "parts"):
        (tmp_path / folder).mkdir()
    for k in range(12):
        parts = np.repeat(np.repeat(draw.integers(0, 2, (3, 3)), 8, 0), 8, 1).astype(np.uint8)
        Image.fromarray(np.repeat(parts[..., None] * 255, 3, 2)).save(tmp_path / f"images/{k}.png")
        Image.fromarray(parts).save(tmp_path / f"parts/{k}.png")
    split = Splitting(test=0.25, val=0.0)
    data = PairedFiles(tmp_path, "parts", ["dark", "light"], canvas=24, batch_size=9, split=split)
    found = scored(Segmentation(backbone=Colours()), data, tmp_path / "run", epochs=15)
    assert found["miou"] > 0.95


def test_the_trunk_keeps_every_byte_and_only_the_head_learns(root, tmp_path):
    torch.manual_seed(1)
    trunk = TinyNet(dropout=0.5)  # its batch norm has statistics that a pass in train mode would move
    before = state_of(trunk)
    module = Segmentation(backbone=trunk, optim=Optim(partial(SGD, lr=0.5, weight_decay=0.1)))
    module.train()
    modes = []
    hook = trunk.conv1.register_forward_hook(lambda *_: modes.append(trunk.training or trunk.conv1[1].training))
    scored(module, pets(root), tmp_path, 2)
    hook.remove()
    assert len(modes) > 6
    assert not any(modes)
    assert same(before, state_of(trunk))
    assert all(parameter.grad is None for parameter in trunk.parameters())
    (group,) = module.configure_optimizers().param_groups
    assert {id(p) for p in group["params"]} == {id(p) for p in module.head.parameters()}
    assert module.head[1].weight.abs().max() > 0.1  # it began at a standard deviation of 0.01
    assert int(module.head[0].num_batches_tracked) > 0


def test_a_perfect_prediction_scores_1_without_doubt():
    answer = torch.randint(2, (5, 8, 8), generator=rng("cpu", 0)).byte()
    answer[:, 0] = IGNORED
    perfect = score(segment.confusion(answer.clamp(max=1), answer, 3), ["a", "b", "c"], commonest=0)
    assert (perfect["miou"], perfect["low"], perfect["high"]) == (1, 1, 1)
    assert perfect["iou"] == {"a": 1, "b": 1, "c": None}  # c was neither there nor predicted
    json.dumps(perfect, allow_nan=False)


def test_photo_and_mask_are_mirrored_together():
    x, y = torch.rand(4, 3, 5, 6, generator=rng("cpu", 0)), torch.arange(4 * 30).view(4, 5, 6)
    some = torch.tensor([True, False, True, False])
    twice = mirrored(mirrored(x, some), some)
    assert torch.equal(twice, x)
    assert torch.equal(mirrored(x, some)[0], x[0].flip(-1))
    assert torch.equal(mirrored(y, some)[2], y[2].flip(-1))
    assert torch.equal(mirrored(y, some)[1::2], y[1::2])


def test_mirroring_teaches_a_mirror_image_as_well(tmp_path):
    """Everything is red on the left and blue on the right. Only who saw mirrored pairs knows the classes by colour."""

    class Sides(Backbone):
        """Each pixel's column, and its redness."""

        axes, dim, stages = "hw", 2, {"sides": 2}

        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, x):
            across = torch.linspace(-1, 1, x.shape[-1]).expand_as(x[:, :1])
            noisy = x[:, :1] + 0.35 * torch.sin(1e4 * x[:, 1:2])  # a weaker cue than the place
            seen = torch.cat([across, noisy], 1)
            return Features({"sides": seen}, seen.mean((-2, -1)))

    y = (torch.arange(16) < 8).byte().expand(32, 16, 16).clone()
    x = torch.randint(256, (32, 3, 16, 16), generator=rng("cpu", 3)).byte()
    x[:, 0] = torch.where(y == 1, 200, 50)
    told = {}
    for flip in (False, True):
        module = Segmentation(backbone=Sides(), optim=sgd, flip=flip)
        trainer(tmp_path, 10).fit(module, datamodule=Held(x, y, ["blue", "red"]))
        module.eval()
        other = module.logits(module.inputs.centre(x.flip(-1)), 16, 16).argmax(1)
        told[flip] = float((other == y.flip(-1)).float().mean())
    assert told[True] > 0.7 > 0.5 > told[False]


class Held(DataModule):
    """Pictures and masks in memory."""

    classes = None

    def __init__(self, x, y, classes):
        super().__init__(batch_size=8, val=0, limit=None, seed=0)
        self.x, self.y, self.classes = x, y, classes

    def open(self, split):
        return Memory(self.x, self.y)


def test_pixels_that_are_not_judged_teach_nothing():
    logits = torch.randn(2, 2, 4, 4, generator=rng("cpu", 0), requires_grad=True)
    answer = torch.zeros(2, 4, 4, dtype=torch.uint8)
    answer[0, :2] = 1
    answer[1] = IGNORED
    loss = segment.loss(logits, answer)
    loss.backward()
    assert not logits.grad[1].any()
    assert logits.grad[0].all()
    wanted = nn.functional.cross_entropy(logits[:1], answer[:1].long())
    assert torch.allclose(loss, wanted)
    assert segment.loss(logits, torch.full_like(answer, IGNORED)) == 0


def test_the_same_seed_gives_the_same_score_whatever_was_drawn_before(root, tmp_path):
    results, heads = [], []
    torch.manual_seed(0)
    trunk = TinyNet()
    for number, seed in enumerate((5, 5, 6)):
        torch.manual_seed(number)
        module = Segmentation(backbone=trunk, stage="conv1", optim=sgd, seed=seed)
        results.append(scored(module, pets(root, seed=seed), tmp_path / str(number), 2))
        heads.append(state_of(module))
    assert results[0] == results[1]
    assert same(heads[0], heads[1])
    assert not same(heads[0], heads[2])


def test_a_resumed_run_is_bit_identical(root, tmp_path):
    def fit(folder, ckpt=None, **options):
        torch.manual_seed(0)
        module = Segmentation(backbone=TinyNet(), stage="conv1", optim=Optim(sgd.optimizer, "constant", 0))
        runner = trainer(folder, -1, callbacks=[Checkpoint(100)], plugins=[AtomicCheckpointIO()], **options)
        runner.fit(module, datamodule=pets(root, batch_size=5), ckpt_path=ckpt)
        return state_of(module)

    whole = fit(tmp_path / "whole", max_steps=7)
    fit(tmp_path / "parts", max_steps=3)
    assert same(whole, fit(tmp_path / "parts", tmp_path / "parts/checkpoints/last.ckpt", max_steps=7))


def test_a_run_is_loaded_without_data_and_refuses_other_classes(root, tmp_path):
    torch.manual_seed(0)
    module = Segmentation(backbone=TinyNet(), optim=sgd)
    runner = trainer(tmp_path, 1, callbacks=[Checkpoint()], plugins=[AtomicCheckpointIO()])
    runner.fit(module, datamodule=pets(root))
    model = {
        "class_path": "pretext.supervised.segmentation.Segmentation",
        "init_args": {"backbone": {"class_path": "nets.TinyNet"}},
    }
    OmegaConf.save({"model": model}, tmp_path / "config.yaml")
    loaded = load(tmp_path)
    assert loaded.classes == ["background", "pet"]
    assert loaded.inputs.canvas == 32
    assert same(state_of(module), state_of(loaded))
    batch = next(iter(pets(root).ordered("test")))
    assert torch.equal(predicted(loaded, batch), predicted(module.eval(), batch))
    data = Held(batch["x"], batch["y"], ["cat", "dog"])
    with pytest.raises(ValueError, match=r"trained for the classes \['background', 'pet'\], but the data has \['cat'"):
        trainer(tmp_path).test(loaded, datamodule=data, verbose=False)


def test_masks_of_another_side_than_in_training_are_predicted_at_their_own(root, tmp_path):
    module = Segmentation(backbone=Colours(), optim=sgd)
    small = scored(module, pets(root), tmp_path)
    runner = trainer(tmp_path)
    runner.test(module, datamodule=pets(root, canvas=48), verbose=False)
    assert json.loads((tmp_path / "score.json").read_text())["miou"] == pytest.approx(small["miou"], abs=0.05)


def test_validation_logs_the_mean_iou_of_all_its_pixels(root, tmp_path):
    module = Segmentation(backbone=Colours(), optim=sgd)
    runner = trainer(tmp_path, 3)
    data = pets(root, val=0.5, batch_size=5)  # batches of unequal size
    runner.fit(module, datamodule=data)
    counts = torch.zeros(2, 2, dtype=torch.int64)
    module.eval()
    for batch in data.val_dataloader():
        counts += segment.confusion(predicted(module, batch), batch["y"], 2).sum(0)
    assert float(runner.callback_metrics["val/miou"]) == pytest.approx(float(segment.mean_iou(counts)))


def test_the_picture_shows_photo_mask_and_prediction(root, tmp_path):
    scored(Segmentation(backbone=Colours(), optim=sgd), pets(root), tmp_path, 1)
    with Image.open(tmp_path / "segmentation.png") as picture:
        assert min(picture.size) > 500
    answer = torch.tensor([[0, 1], [IGNORED, 0]], dtype=torch.uint8)
    image = torch.randint(256, (3, 2, 2), generator=rng("cpu", 0)).byte()
    figure = draw([Shown(0.1, image, answer, 1 - answer.clamp(max=1))], ["background", "pet"])
    photo, mask, prediction = (axes.images[0].get_array().data for axes in figure.axes[:3])
    assert (photo == image.permute(1, 2, 0).numpy()).all()
    assert (mask[0, 0] == mask[1, 1]).all()
    assert (mask[0, 0] == prediction[0, 1]).all()
    assert (mask[0, 1] == prediction[0, 0]).all()
    colours = {tuple(colour) for colour in mask.reshape(-1, 3)}
    assert len(colours) == 3
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["background", "pet", "not judged"]


@pytest.mark.parametrize("classes", [1, 2, 6, 7, 18, 19, 40])
def test_every_class_has_a_colour_of_its_own_that_is_not_grey(classes):
    colours = palette(classes)
    assert colours.shape == (classes, 3)
    assert len({tuple(colour) for colour in colours}) == classes
    assert (colours.max(1).astype(int) - colours.min(1) > 30).all()


def test_a_trial_run_leaves_nothing_behind(root, tmp_path):
    runner = trainer(tmp_path, fast_dev_run=True)
    module = Segmentation(backbone=Colours(), optim=sgd)
    runner.fit(module, datamodule=pets(root))
    runner.test(module, datamodule=pets(root), verbose=False)
    assert list(tmp_path.iterdir()) == []


class Flat(Colours):
    """A last stage without places."""

    def forward(self, x):
        return Features({"colours": x.mean((-2, -1))}, x.mean((-2, -1)))


def test_what_does_not_fit_is_named(root, tmp_path):
    with pytest.raises(ValueError, match=r"either a run .* or a backbone"):
        Segmentation()
    with pytest.raises(ValueError, match="TinyNet has no stage 'conv9'; choose one of conv1, conv2"):
        Segmentation(backbone=TinyNet(), stage="conv9")
    with pytest.raises(ValueError, match="Segmentation needs a backbone with an axis 'h', but WaveNet"):
        Segmentation(backbone=WaveNet())
    with pytest.raises(ValueError, match=r"stage 'colours' is \(8, 3\), without places"):
        trainer(tmp_path, 1).fit(Segmentation(backbone=Flat()), datamodule=pets(root))
    with pytest.raises(ValueError, match=r"wants masks, .* y of shape \(64,\)"):
        trainer(tmp_path, 1).fit(Segmentation(backbone=Colours()), datamodule=Digits(size=8))
    with pytest.raises(ValueError, match="Held names no classes; give data with masks"):
        trainer(tmp_path, 1).fit(Segmentation(backbone=Colours()), datamodule=Held(None, None, []))
    both = MultiModal({"rgb": TinyNet(), "audio": WaveNet()})
    assert Segmentation(backbone=both, modality="rgb").backbone is both.network("rgb")
    with pytest.raises(ValueError, match="WaveNet"):
        Segmentation(backbone=both, modality="audio")


def test_the_pyramid_of_deeplab_learns_from_the_same_start_whatever_was_drawn_before(root, tmp_path):
    results = []
    for noise in (1, 2):
        torch.manual_seed(0)
        trunk = TinyNet()
        torch.manual_seed(noise)
        module = Segmentation(backbone=trunk, optim=sgd, classifier="aspp")
        results.append(scored(module, pets(root), tmp_path / str(noise), 1))
        assert sum(p.numel() for p in module.head[0].parameters()) > 100 * 256
    assert results[0] == results[1]
    with pytest.raises(ValueError, match="Segmentation: classifier='svm'; choose linear or aspp"):
        Segmentation(backbone=TinyNet(), classifier="svm")
