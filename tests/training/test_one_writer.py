"""A run's folder belongs to the process that trains it."""

import os

import pytest

from pretext.__main__ import main
from pretext.training.one_writer import only_writer

CONFIG = """
model: {backbone: {class_path: nets.TinyNet}, tasks: {turn: {class_path: pretext.Rotation}}}
data: {class_path: datamodules.Digits, init_args: {size: 16, batch_size: 16}}
trainer: {max_steps: 1, limit_val_batches: 0, accelerator: cpu, enable_progress_bar: false}
"""


def test_a_second_training_of_a_run_is_refused_in_one_line_and_spoils_nothing(tmp_path, capsys):
    (tmp_path / "tiny.yaml").write_text(CONFIG)
    fit = ["fit", "-c", str(tmp_path / "tiny.yaml"), "--trainer.default_root_dir", str(tmp_path / "run")]
    with only_writer(tmp_path / "run"):
        assert main([*fit, "--ckpt_path", "last"]) == 1
        told = capsys.readouterr().err.strip().splitlines()
        assert f"pretext fit: another process is training {tmp_path / 'run'}" in told[-1]
        assert list((tmp_path / "run").iterdir()) == []
    assert main(fit) == 0  # and when the first one has ended, it may begin
    assert main(["fit", str(tmp_path / "run"), "--trainer.max_steps", "2"]) == 0


def test_what_a_killed_training_had_begun_to_write_is_removed_and_nothing_else(tmp_path):
    drafts = [tmp_path / "checkpoints" / ".last.ckpt.123.draft", tmp_path / ".metrics.csv.7.draft"]
    others = [tmp_path / ".report.html.9.draft", tmp_path / "checkpoints" / "last.ckpt", tmp_path / "metrics.csv"]
    (tmp_path / "checkpoints").mkdir()
    for file in (*drafts, *others):
        file.touch()
    with only_writer(tmp_path):
        assert not any(file.exists() for file in drafts)
    assert all(file.exists() for file in others)


def test_the_folder_is_free_again_however_its_writer_ends(tmp_path):
    with pytest.raises(RuntimeError), only_writer(tmp_path / "run"):
        raise RuntimeError
    child = os.fork()
    if child == 0:
        only_writer(tmp_path / "run").__enter__()
        os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    with only_writer(tmp_path / "run"), pytest.raises(BlockingIOError, match="wait until it has ended"):
        only_writer(tmp_path / "run").__enter__()


def test_a_disk_that_knows_no_locks_is_written_to_all_the_same(tmp_path, monkeypatch):
    def none(*unused):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", none)
    with only_writer(tmp_path / "run"), only_writer(tmp_path / "run"):
        assert (tmp_path / "run").is_dir()


@pytest.mark.parametrize("step", [False, True], ids=["no step", "a step"])
def test_a_folder_that_was_made_for_a_training_without_a_step_goes_with_its_list_of_bad_files(tmp_path, step):
    run = tmp_path / "made" / "run"
    with only_writer(run):
        (run / "skipped.txt").write_text("a.png\tempty file\n")
        if step:
            (run / "config.yaml").write_text("model: {}\n")
    assert (tmp_path / "made").exists() == (run / "skipped.txt").exists() == step
