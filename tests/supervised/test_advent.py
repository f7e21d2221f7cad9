import json
import warnings
from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from labelled_sets import Labelled
from nets import TinyNet

from datamodules import Digits, Pairs
from pretext import AdvEnt
from pretext.core.rng import rng
from pretext.nn.self_information import entropy
from pretext.training.callbacks import AtomicCheckpointIO
from pretext.training.optimization import Optim
from pretext.training.run import restore

ADAM = Optim(partial(torch.optim.Adam, lr=0.01))


def squares(count, key, turned=False, side=32):
    """A bright square on dark ground, or the other way round: (N, 3, S, S) and its mask (N, S, S)."""
    chance = rng("cpu", "squares", key)
    at = torch.randint(4, side - 16, (count, 2), generator=chance)
    rows, columns = torch.arange(side)[:, None], torch.arange(side)[None]
    inside = [(rows >= a) & (rows < a + 12) & (columns >= b) & (columns < b + 12) for a, b in at.tolist()]
    mask = torch.stack(inside).to(torch.uint8)
    x = 60 + 120 * mask.float() + 20 * torch.randn(count, side, side, generator=chance)
    x = 255 - x if turned else x
    return x.clamp(0, 255).to(torch.uint8)[:, None].expand(-1, 3, -1, -1).contiguous(), mask


def data(labels=None, **options):
    source = Labelled(squares(32, 0), squares(8, 1), ("ground", "square"))
    (x, y), test = squares(32, 2, turned=True), squares(8, 3, turned=True)
    target = Labelled((x, y if labels is None else labels(y)), test, ("ground", "square"))
    return Pairs(source, target, **{"batch_size": 8, **options})


def trainer(folder, epochs=2):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    quiet |= {"enable_checkpointing": False, "plugins": [AtomicCheckpointIO()], "num_sanity_val_steps": 0}
    return pl.Trainer(default_root_dir=folder, max_epochs=epochs, **quiet)


def adapted(folder, pairs=None, epochs=2, **options):
    torch.manual_seed(0)
    module = AdvEnt(backbone=TinyNet(), optim=ADAM, width=4, **options)
    trainer(folder, epochs).fit(module, datamodule=pairs or data())
    return module


def learnt(module):
    return {name: part for name, part in module.state_dict().items() if not name.startswith("discriminator.")}


def test_masks_of_the_source_are_learnt_and_the_target_is_scored(tmp_path):
    module = adapted(tmp_path, epochs=8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning advises workers
        run = trainer(tmp_path)
        run.test(module, datamodule=data(), verbose=False)
    score = json.loads((tmp_path / "score.json").read_text())
    assert score["source"]["miou"] > 0.7
    assert score["rows"] == [
        {**{k: score[k] for k in ("miou", "low", "high")}, "name": "AdvEnt", "chosen": True, "gap_closed": None}
    ]
    assert (score["task"], score["items"], score["classes"]) == ("adaptation", 8, ["ground", "square"])
    assert "no label of the target" in score["selected"]
    information = score["diversity"] - score["entropy"]
    assert score["validation"] + information == pytest.approx(module.choice.kept.best.score)
    assert (tmp_path / "segmentation.png").is_file()
    run.save_checkpoint(tmp_path / "last.ckpt")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "last.ckpt").rename(tmp_path / "checkpoints" / "last.ckpt")
    fresh = restore(AdvEnt(backbone=TinyNet(), width=4), tmp_path)
    assert all(torch.equal(part, fresh.state_dict()[name]) for name, part in module.state_dict().items())


def test_without_weights_it_is_source_only_whatever_the_target_is(tmp_path):
    options = {"adversarial": 0.0, "keep_best": False}
    one = learnt(adapted(tmp_path, **options))
    same, target = (Labelled(squares(32, key), squares(8, 1), ("ground", "square")) for key in (0, 4))
    other = learnt(adapted(tmp_path, Pairs(same, target, variant="blur", batch_size=8), **options))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_targets_masks_reach_neither_training_nor_the_choice(tmp_path):
    one, other = (adapted(tmp_path, data(turn)) for turn in (None, lambda y: 1 - y))
    assert one.choice.known == other.choice.known
    assert all(torch.equal(part, other.state_dict()[name]) for name, part in one.state_dict().items())


def test_entropy_alone_makes_the_target_sure(tmp_path):
    x = squares(8, 3, turned=True)[0]

    def undecided(module):
        with torch.no_grad():  # in training mode, as it was made small: by the batch's own statistics
            return float(entropy(module.train().logits(module.inputs.centre(x), 32, 32)).mean())

    plain, sure = (
        adapted(tmp_path, adversarial=0.0, entropy=weight, epochs=4, keep_best=False) for weight in (0.0, 3.0)
    )
    assert (plain.name, sure.name) == ("labels alone", "MinEnt")
    assert undecided(sure) < 0.8 * undecided(plain)


def test_the_discriminator_learns_at_a_rate_of_its_own(tmp_path):
    module = adapted(tmp_path, epochs=1, discriminator_lr=0.25)
    rates = [group["lr"] for group in module.configure_optimizers().param_groups]
    assert rates == [0.01, 0.0025]
    x = torch.rand(2, 2, 3, 32, 32, generator=rng("cpu", 0))
    loss, _ = module.drawn(module.logits(x[0], 32, 32), module.logits(x[1], 32, 32))
    module.zero_grad()
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.discriminator.parameters())


class TestRefusals:
    def test_labels_that_are_no_masks(self, tmp_path):
        pairs = Pairs(*(Digits(size=32, domain=domain) for domain in ("plain", "m")))
        with pytest.raises(ValueError, match=r"AdvEnt: the source's labels are \(32,\); give masks, y \(N, S, S\)"):
            trainer(tmp_path).fit(AdvEnt(backbone=TinyNet(), width=4), datamodule=pairs)

    def test_a_negative_weight_and_a_stage_that_is_not_there(self):
        with pytest.raises(ValueError, match="adversarial=-1, entropy"):
            AdvEnt(backbone=TinyNet(), adversarial=-1)
        with pytest.raises(ValueError, match="AdvEnt: TinyNet has no stage 'conv9'; choose one of conv1, conv2"):
            AdvEnt(backbone=TinyNet(), stage="conv9")
