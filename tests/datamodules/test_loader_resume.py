"""A real Trainer, stopped at every step of its checkpoints and resumed, sees the batches that it would have seen."""

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback
from torch import nn

from datamodules import Digits, ImageFolder, Reading, Splitting

BATCHES, EPOCHS = 5, 3


class Recorder(LightningModule):
    """A linear net that remembers which items it was trained on, step by step."""

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(3 * 8 * 8, 1)
        self.seen, self.validated = [], []

    def training_step(self, batch):
        self.seen.append((self.global_step, self.current_epoch, batch["index"].tolist()))
        return self.net(batch["x"].flatten(1).float() / 255).mean()

    def validation_step(self, batch):
        self.validated.append(batch["index"].tolist())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


class Save(Callback):
    """Save a checkpoint wherever Lightning's own callback may: after a step, after validation, after an epoch."""

    def __init__(self, folder):
        self.folder = folder
        self.saved = []

    def save(self, trainer, when):
        if not trainer.sanity_checking:
            self.saved.append(self.folder / f"{len(self.saved)} {when}.ckpt")
            trainer.save_checkpoint(self.saved[-1])

    def on_train_batch_end(self, trainer, *_):
        self.save(trainer, "step")

    def on_validation_end(self, trainer, *_):
        self.save(trainer, "validation")

    def on_train_epoch_end(self, trainer, *_):
        self.save(trainer, "epoch")


def fit(data, folder, checkpoint=None, callbacks=(), **options):
    torch.manual_seed(0)
    module = Recorder()
    quiet = dict.fromkeys(["logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"], False)
    length = {} if "max_steps" in options else {"max_epochs": EPOCHS}
    trainer = Trainer(
        accelerator="cpu", default_root_dir=folder, callbacks=list(callbacks), **quiet, **length, **options
    )
    trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)
    return module


OPTIONS = {
    "validation after each epoch": {},
    "validation within an epoch": {"val_check_interval": 2},
    "no validation": {"limit_val_batches": 0},
    "epochs cut short": {"limit_train_batches": 3},
    "epochs and validation cut short": {"limit_train_batches": 3, "limit_val_batches": 1, "val_check_interval": 1},
    "a number of steps": {"max_steps": 13},
    "accumulated gradients": {"accumulate_grad_batches": 2},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_resumed_from_any_checkpoint_the_sequence_of_items_is_that_of_the_uninterrupted_run(tmp_path, options):
    def data():
        return Digits(size=8, batch_size=4, seed=3, split=Splitting(limit=25, val=0.2))

    save = Save(tmp_path)
    whole = fit(data(), tmp_path / "whole", callbacks=[save], **options)

    per_epoch = options.get("limit_train_batches", BATCHES)
    assert len(whole.seen) == options.get("max_steps", EPOCHS * per_epoch)
    by_epoch = {epoch: [] for _, epoch, _ in whole.seen}
    for _, epoch, items in whole.seen:
        by_epoch[epoch] += items
    assert all(len(items) == len(set(items)) == 4 * per_epoch for items in list(by_epoch.values())[:-1])
    assert len({tuple(items) for items in by_epoch.values()}) == len(by_epoch)  # a new order in each epoch

    assert len(save.saved) >= len(whole.seen)
    for checkpoint in save.saved:
        resumed = fit(data(), tmp_path / "resumed", checkpoint, **options)
        assert resumed.seen == whole.seen[len(whole.seen) - len(resumed.seen) :], checkpoint
        state = torch.load(checkpoint, weights_only=True)
        done = state["loops"]["fit_loop"]["epoch_loop.batch_progress"]["total"]["processed"]
        assert len(resumed.seen) == len(whole.seen) - done, checkpoint
        if "accumulate_grad_batches" not in options:  # no checkpoint holds what was accumulated
            assert torch.equal(whole.net.weight, resumed.net.weight), checkpoint


def test_streamed_files_resume_alike_and_leave_the_bad_ones_where_they_were(tmp_path, photos):
    root = photos(15)
    for name in ("train/cat/003.png", "train/dog/001.png"):
        (root / name).write_bytes(b"")

    def data():
        return ImageFolder(root, 8, 5, cache=0, reading=Reading(workers=2, max_bad=0.1), split=Splitting(val=0.1))

    save = Save(tmp_path)
    (tmp_path / "whole").mkdir()  # as a training of ours does; the list is not what makes a run
    whole = fit(data(), tmp_path / "whole", callbacks=[save])
    for checkpoint in save.saved[::2]:
        resumed = fit(data(), tmp_path / "resumed", checkpoint)
        assert resumed.seen == whole.seen[len(whole.seen) - len(resumed.seen) :], checkpoint
        assert torch.equal(whole.net.weight, resumed.net.weight)
    assert len((tmp_path / "whole/skipped.txt").read_text().splitlines()) == 2


def test_validation_sees_the_held_out_items_each_time_and_none_without_a_share(tmp_path):
    module = fit(Digits(size=8, batch_size=4, split=Splitting(limit=25, val=0.2)), tmp_path)
    assert module.validated == module.validated[:2] * (EPOCHS + 1)  # before training, then after each epoch
    trained = {item for _, _, items in module.seen for item in items}
    assert not trained & {item for items in module.validated for item in items}
    assert fit(Digits(size=8, split=Splitting(limit=25, val=0)), tmp_path).validated == []


def test_overfitting_a_batch_repeats_that_batch(tmp_path):
    module = fit(Digits(size=8, batch_size=4), tmp_path, overfit_batches=1)
    assert len({str(items) for _, _, items in module.seen}) == 1
