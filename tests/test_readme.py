"""The task that README shows is a real one: it keeps the contract, and `pretext fit` takes it."""

import re
from pathlib import Path

import torch
from nets import TinyNet

from pretext.__main__ import VERBS, main
from pretext.testing import check_task

ROOT = Path(__file__).parents[1]


README = (ROOT / "README.md").read_text()


def test_lines_fit_a_terminal_and_every_verb_is_in_the_table():
    assert [line for line in README.splitlines() if len(line) > 130] == []
    rows = [line.split("|")[1] for line in README.splitlines() if line.startswith("| `")]
    named = {verb for row in rows for verb in re.findall(r"`(\w+)`", row)}
    assert set(VERBS) <= named


def plug_in():
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    return next(block for block in blocks if "class Mirror(Task)" in block)


def test_the_plug_in_keeps_the_contract_and_has_about_30_lines(tmp_path, monkeypatch):
    assert len([line for line in plug_in().splitlines() if line.strip()]) <= 30
    (tmp_path / "mirror.py").write_text(plug_in())
    monkeypatch.syspath_prepend(tmp_path)
    from mirror import Mirror

    torch.manual_seed(0)
    x = torch.rand(16, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    check_task(Mirror, TinyNet(), x)


def test_the_plug_in_beside_a_config_trains_and_is_drawn(tmp_path, monkeypatch):
    (tmp_path / "mirror.py").write_text(plug_in())
    monkeypatch.chdir(tmp_path)
    config = ["-c", str(ROOT / "configs" / "image" / "digits.yaml"), "--model.tasks.mirror", "mirror.Mirror"]
    assert main(["fit", *config, "--trainer.default_root_dir", "run", "--trainer.max_steps", "1"]) == 0
    assert main(["show", "run", "--count", "2"]) == 0
    assert (tmp_path / "run" / "puzzles.png").is_file()
