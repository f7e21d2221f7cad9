import json
import warnings

import pytest
import pytorch_lightning as pl
import torch
from clips import TinySound, TinyVideo, tiny_multimodal
from labelled_sets import Labelled, colours, directions, tones
from nets import TinyNet
from PIL import Image

from datamodules import Bouncing, Digits, Photos, Reading, Sampling, Splitting, Videos, Windows
from pretext.evaluation.statistics.intervals import wilson
from pretext.report.run import summary
from pretext.supervised.linear_probe import LinearProbe, sgd
from pretext.training.optimization import Optim
from pretext.views.augment import Augment


def trainer(folder, epochs=4, **options):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    return pl.Trainer(default_root_dir=folder, max_epochs=epochs, **quiet, enable_checkpointing=False, **options)


def net(kind=TinyNet, **options):
    torch.manual_seed(0)
    return kind(**options)


def fast(parameters):
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9, nesterov=True)


def probed(folder, data, epochs=4, **options):
    """Train and test a probe; return it with what it wrote."""
    module = LinearProbe(backbone=options.pop("backbone", None) or net(), optim=Optim(fast, warmup=0.0), **options)
    run = trainer(folder, epochs)
    run.fit(module, datamodule=data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning advises workers
        run.test(module, datamodule=data, verbose=False)
    return module, json.loads((folder / "score.json").read_text())


def state(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    backbone = net(dropout=0.5)
    backbone(torch.rand(64, 3, 16, 16))  # in train mode: statistics of its own
    before = state(backbone)
    folder = tmp_path_factory.mktemp("digits")
    augment = Augment(crop=14, flip=False)
    module, result = probed(folder, Digits(size=16), backbone=backbone, augment=augment)
    return before, module, result, folder


class TestDigits:
    def test_the_trunk_is_the_same_bytes_and_in_eval_mode(self, digits):
        before, module, _, _ = digits
        after = state(module.backbone)
        assert before.keys() == after.keys()
        assert "conv1.1.running_mean" in before
        assert all(torch.equal(before[name], after[name]) for name in before)
        assert not any(part.training for part in module.train().backbone.modules())
        assert all(part.training for part in module.heads.modules())

    def test_random_features_tell_digits_apart_and_every_figure_has_its_interval(self, digits):
        _, _, result, _ = digits
        assert (result["task"], result["head"], result["items"]) == ("linear_probe", "linear", 500)
        assert result["classes"] == list("0123456789")
        assert [row["stage"] for row in result["rows"]] == ["conv1", "conv2"]
        assert [row["dims"] for row in result["rows"]] == [8 * 7 * 7, 16 * 4 * 4]  # of a crop of 14 px
        for row in result["rows"]:
            assert row["accuracy"] > 0.8
            assert (row["low"], row["high"]) == wilson(round(500 * row["accuracy"]), 500)
        assert 0.05 < result["chance"] < 0.15

    def test_the_stage_is_chosen_by_validation(self, digits):
        _, module, result, _ = digits
        (chosen,) = [row for row in result["rows"] if row["chosen"]]
        assert chosen["validation"] == max(row["validation"] for row in result["rows"])
        assert module.validation == {row["stage"]: row["validation"] for row in result["rows"]}

    def test_same_seed_same_number_and_another_seed_another(self, digits, tmp_path):
        numbers = []
        for seed in (0, 0, 1):
            torch.manual_seed(len(numbers))  # what the process has drawn before does not matter
            (tmp_path / str(len(numbers))).mkdir()
            data = Digits(size=16, split=Splitting(limit=300))
            module, _ = probed(tmp_path / str(len(numbers)), data, epochs=1, augment=Augment(crop=14), seed=seed)
            numbers.append(torch.cat([p.detach().flatten() for p in module.heads.parameters()]))
        assert torch.equal(numbers[0], numbers[1])
        assert not torch.equal(numbers[0], numbers[2])

    def test_stages_do_not_learn_from_one_another(self, tmp_path):
        """The sum of the losses is no compromise: a stage alone becomes the very same classifier."""
        weights = []
        for stages in (None, ["conv1"]):
            folder = tmp_path / str(stages)
            folder.mkdir()
            module, result = probed(folder, Digits(size=16, split=Splitting(limit=300)), epochs=1, stages=stages)
            weights.append(module.heads["conv1"].linear.weight.detach())
        assert [row["stage"] for row in result["rows"]] == ["conv1"]
        torch.testing.assert_close(*weights)


def test_a_checkpoint_brings_heads_classes_and_the_choice_without_data(digits, tmp_path):
    _, module, result, _ = digits
    checkpoint = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, tmp_path / "last.ckpt")
    loaded = LinearProbe(backbone=net(dropout=0.5), augment=Augment(crop=14, flip=False))
    read = torch.load(tmp_path / "last.ckpt", weights_only=True)
    loaded.on_load_checkpoint(read)
    loaded.load_state_dict(read["state_dict"])
    x = next(iter(Digits(size=16).ordered("test")))["x"]
    view = module.eval().inputs.eval_input(x)
    for name, logits in module.logits(view).items():
        assert torch.equal(loaded.eval().logits(loaded.inputs.eval_input(x))[name], logits)
    assert loaded.validation == module.validation
    assert loaded.classes == result["classes"]


@pytest.mark.parametrize("head", ["mlp", "conv"])
def test_rotnets_classifiers_learn_too(head, tmp_path):
    before = state(net())
    module, result = probed(tmp_path, Digits(size=16), 4, head=head, stages=["conv2"])
    assert result["rows"][0]["accuracy"] > 0.7
    assert all(torch.equal(before[name], tensor) for name, tensor in state(module.backbone).items())


def test_without_validation_every_stage_is_judged_and_none_is_chosen(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning misses the validation
        _, result = probed(tmp_path, Digits(size=16, split=Splitting(val=0)), 2, choose=False, dims="whole")
    assert [(row["stage"], row["chosen"], row["validation"]) for row in result["rows"]] == [
        ("conv1", False, None),
        ("conv2", False, None),
    ]
    assert [row["dims"] for row in result["rows"]] == [8 * 8 * 8, 16 * 4 * 4]
    headline = summary(tmp_path)
    assert headline.count("test accuracy") == 2, headline


def test_several_labels_are_scored_by_mean_average_precision(tmp_path):
    data = Labelled(colours(300), colours(100, key=1), classes=["red", "green", "blue"])
    _, result = probed(tmp_path, data, epochs=6)
    row = max(result["rows"], key=lambda row: row["map"])
    assert row["map"] > 0.9
    assert row["low"] <= row["map"] <= row["high"]
    assert 0.3 < result["chance"] < 0.5  # each colour is there with probability 0.4
    assert "accuracy" not in row


@pytest.mark.parametrize(("kind", "make"), [(TinyVideo, directions), (TinySound, tones)])
def test_clips_and_sounds_are_learnt(kind, make, tmp_path):
    _, result = probed(tmp_path, Labelled(make(200), make(100, key=1), classes="ab"), epochs=6, backbone=net(kind))
    assert max(row["low"] for row in result["rows"]) > 0.6
    assert result["chance"] < 0.6


def test_an_image_network_averages_what_it_says_of_a_clips_frames(tmp_path):
    data = Labelled(directions(64), directions(32, key=1), classes="ab")
    module, _ = probed(tmp_path, data, epochs=1)
    x = data.sets["test"][0][:4]
    batch = {"x": x, "index": torch.arange(4)}
    said = module.eval().predict_step(batch, 0)["logits.conv2"]
    each = [module.logits(x[:, :, t].float() / 255)["conv2"] for t in range(x.shape[2])]
    torch.testing.assert_close(said, torch.stack(each).mean(0))


def test_real_videos_with_sound_one_modality_at_a_time(tmp_path):
    data = Bouncing(
        tmp_path,
        Videos(16, 8),
        canvas=16,
        batch_size=8,
        windows=Windows(frames=4),
        sampling=Sampling(rate=4000),
        reading=Reading(workers=1),
        split=Splitting(val=0.5),
    )
    for name, kind in (("rgb", TinyVideo), ("audio", TinySound)):
        (tmp_path / name).mkdir()
        module, result = probed(tmp_path / name, data, 1, backbone=net(tiny_multimodal), modality=name)
        assert isinstance(module.backbone, kind)
        assert result["items"] == 8
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer(tmp_path).test(module, dataloaders=data.ordered("test"), verbose=False)
    assert json.loads((tmp_path / "score.json").read_text())["items"] == 8  # of three clips each, averaged
    alone = LinearProbe(backbone=net(TinyVideo))
    with pytest.raises(ValueError, match=r"the data has rgb, audio, but the modality is None; name one of them"):
        trainer(tmp_path).fit(alone, datamodule=data)


class TestRefusals:
    def test_no_validation_items(self, tmp_path):
        with pytest.raises(ValueError, match=r"Digits holds out none; set a share, such as --data.split.val 0.1"):
            trainer(tmp_path).fit(LinearProbe(backbone=net()), datamodule=Digits(size=16, split=Splitting(val=0)))

    def test_no_labels(self, tmp_path):
        with pytest.raises(
            ValueError, match=r"LinearProbe learns classes, but Photos has none; give a data module with"
        ):
            trainer(tmp_path).fit(LinearProbe(backbone=net()), datamodule=unlabelled(tmp_path))

    def test_testing_what_was_never_validated(self, tmp_path):
        with pytest.raises(ValueError, match=r"no stage can be chosen, because no epoch of training was validated"):
            trainer(tmp_path).test(LinearProbe(backbone=net()), datamodule=Digits(size=16), verbose=False)

    def test_unknown_stages_and_no_backbone(self):
        with pytest.raises(ValueError, match=r"stages are \['layer9'\], but the backbone has conv1, conv2"):
            LinearProbe(backbone=net(), stages=["layer9"])
        with pytest.raises(ValueError, match=r"either a run .* or a backbone"):
            LinearProbe()

    def test_other_classes_than_were_learnt(self, digits, tmp_path):
        _, module, _, _ = digits
        data = Labelled(tones(8), tones(8), classes="ab")
        with pytest.raises(
            ValueError, match=r"LinearProbe learnt 10 classes \(0, 1, 2 ...\), but the data has 2 \(a, b"
        ):
            trainer(tmp_path).test(module, datamodule=data, verbose=False)


def unlabelled(folder):
    (folder / "photos").mkdir()
    for i in range(4):
        Image.new("RGB", (8, 8), (i, i, i)).save(folder / "photos" / f"{i}.png")
    return Photos(folder / "photos", canvas=8, batch_size=2)


def test_the_default_optimiser_is_goyal_et_als():
    (group,) = sgd([torch.nn.Parameter(torch.zeros(1))]).param_groups
    assert (group["lr"], group["momentum"], group["nesterov"], group["weight_decay"]) == (0.01, 0.9, True, 1e-4)
