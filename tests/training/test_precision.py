"""What a trainer computes in where bfloat16 is asked for."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.precision import MixedPrecision
from torch.utils.data import DataLoader, TensorDataset

import pretext
from pretext.search.trainer import quiet_trainer
from pretext.training.precision import cpu_has_bfloat16, quick_precision

CPUINFO = Path("/proc/cpuinfo")
LINE = "precision 32-true instead of bf16-mixed: this CPU has no fast bfloat16\n"


def trainer(precision: str) -> pl.Trainer:
    return pl.Trainer(precision=precision, accelerator="cpu", logger=False, enable_checkpointing=False)  # type: ignore[arg-type]


X86 = platform.machine() == "x86_64" and CPUINFO.exists()


@pytest.mark.skipif(not X86, reason="compares with the flags of x86 under Linux")
def test_bfloat16_wants_avx512() -> None:
    flags = next(line for line in CPUINFO.read_text().splitlines() if line.startswith("flags")).split()
    assert cpu_has_bfloat16() == {"avx512bw", "avx512vl", "avx512dq"}.issubset(flags)


def test_a_cpu_without_it_computes_in_float32(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert quick_precision(trainer("bf16-mixed")).precision == "32-true"
    assert capsys.readouterr().err.endswith(LINE)

    class Mine(MixedPrecision):
        pass

    mine = pl.Trainer(plugins=[Mine("bf16-mixed", "cpu")], accelerator="cpu", logger=False, enable_checkpointing=False)
    assert type(quick_precision(mine).precision_plugin) is Mine
    for precision in ("bf16-true", "32-true"):
        assert quick_precision(trainer(precision)).precision == precision
    assert LINE not in capsys.readouterr().err


def test_jobs_of_a_search_do_so_in_silence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    options = {"precision": "bf16-mixed", "accelerator": "cpu"}
    assert quiet_trainer(options, steps=1, folder=tmp_path).precision == "32-true"
    assert LINE not in capsys.readouterr().err


def test_networks_see_what_the_line_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    module = pretext.Pretrainer(
        backbone=pretext.TorchVision("resnet18", stem="small", stem_stride=2, width=0.0625),
        tasks={"rotation": pretext.Rotation},
    )
    seen: list[torch.dtype] = []
    module.backbone.register_forward_hook(lambda network, given, features: seen.append(features.pooled.dtype))
    images = DataLoader(TensorDataset(torch.zeros(4, 3, 16, 16)), batch_size=2)
    pretext.fit(module, images, tmp_path / "run", max_steps=1, precision="bf16-mixed", accelerator="cpu")
    assert set(seen) == {torch.float32}
    assert capsys.readouterr().err.count(LINE) == 1
    assert json.loads((tmp_path / "run" / "environment.json").read_text())["precision"] == "32-true"
