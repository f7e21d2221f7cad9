"""The guides are short, and what they show works as it stands there; so does the notebook, cell by cell."""

import json
import re
from pathlib import Path

import pytest
import torch
from labelled_sets import Labelled
from nets import TinyNet

import pretext
from pretext.__main__ import main
from pretext.testing import check_task

DOCS = Path(__file__).parents[1] / "docs"
GUIDES = sorted(DOCS.glob("your-*.md"))


def blocks(name):
    return re.findall(r"```python\n(.*?)```", (DOCS / f"your-{name}.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("file", GUIDES, ids=lambda file: file.stem)
def test_a_guide_has_less_than_30_lines_that_are_not_blank(file):
    lines = [line for line in file.read_text().splitlines() if line.strip()]
    assert len(lines) < 30
    assert max(map(len, lines)) <= 130


def test_there_is_a_guide_for_each_part():
    assert [file.stem for file in GUIDES] == ["your-backbone", "your-data", "your-protocol", "your-task"]


def test_data_of_ones_own_trains_and_is_probed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    space = {}
    for block in blocks("data"):
        exec(block, space)
    assert (tmp_path / "runs" / "mine" / "probe.json").is_file()
    assert capsys.readouterr().out.startswith("On Loaders: ")


def test_a_backbone_of_ones_own_reads_pictures():
    space = {}
    for block in blocks("backbone"):
        exec(block, space)
    net = space["Mine"](4)
    features = net(torch.rand(2, 3, 8, 8))
    assert features.pooled.shape == (2, net.dim)
    assert {name: stage.shape[1] for name, stage in features.stages.items()} == net.stages


def test_a_protocol_of_ones_own_measures_and_stands_in_the_glossary(tmp_path, monkeypatch):
    (tmp_path / "centroid.py").write_text(blocks("protocol")[0])
    monkeypatch.syspath_prepend(tmp_path)
    y = torch.arange(32) % 2
    x = ((torch.rand(32, 3, 8, 8, generator=torch.Generator().manual_seed(0)) + y[:, None, None, None]) * 127).byte()
    torch.manual_seed(0)
    result = pretext.probe(
        TinyNet(norm=False), Labelled((x, y), (x, y), "ab"), protocols=["centroid.Centroid"], folder=tmp_path
    )
    assert max(row["centroid/accuracy"] for row in result.rows()) > 0.75
    (tmp_path / "config.yaml").write_text("model: {}\n")
    page = pretext.write_report(tmp_path).read_text()
    assert "<dt>Nearest mean</dt><dd>Cosine to the mean of each class.</dd>" in page


def test_a_task_of_ones_own_keeps_the_contract(tmp_path, monkeypatch):
    (tmp_path / "swapped.py").write_text(blocks("task")[0])
    monkeypatch.syspath_prepend(tmp_path)
    from swapped import Swapped

    torch.manual_seed(0)
    check_task(Swapped, TinyNet(), torch.rand(16, 3, 16, 16, generator=torch.Generator().manual_seed(0)))


@pytest.mark.slow
def test_a_task_of_ones_own_trains_beside_the_others(tmp_path, monkeypatch):
    (tmp_path / "swapped.py").write_text(blocks("task")[0])
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    config, place = DOCS.parent / "configs" / "image" / "digits.yaml", ["--trainer.default_root_dir", "run"]
    task = ["--model.tasks.swapped", "swapped.Swapped", "--trainer.max_steps", "1"]
    assert main(["fit", "-c", str(config), *task, *place]) == 0


def test_the_notebook_runs_from_top_to_bottom(tmp_path, monkeypatch):
    """Without a kernel: its cells are Python, one after the other; the last value of a cell is what it would show."""
    monkeypatch.chdir(tmp_path)
    cells = json.loads((DOCS / "first-steps.ipynb").read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    space, shown = {}, []
    for text in code:
        *before, last = text.rstrip().splitlines()
        exec("\n".join(before), space)
        if re.match(r"[\w.]+(\(.*\)|$)", last):
            shown.append(eval(last, space))
        else:
            exec(last, space)
    html = [each._repr_html_() for each in shown if hasattr(each, "_repr_html_")]
    pictures = [each._repr_png_() for each in shown if hasattr(each, "_repr_png_")]
    assert len(html) == 2
    assert all("<table" in each for each in html)
    assert pictures[0].startswith(b"\x89PNG")
