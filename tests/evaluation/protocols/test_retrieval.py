"""Recall and ranks in closed form, encoders of a run from the command line, prompts, and what is refused."""

import json

import pytest
import torch
import yaml
from captions import captioned
from PIL import Image

import pretext
from pretext.__main__ import main
from pretext.evaluation.available import of_two_encoders, protocols_named
from pretext.evaluation.baselines import WordCounts
from pretext.evaluation.embed import Embedded
from pretext.evaluation.measure import measure
from pretext.evaluation.prompts import read_prompts
from pretext.evaluation.protocols.retrieval import class_means, recalls
from pretext.ops.words import as_bytes, as_texts


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_recall_is_what_counting_says():
    questions, answers = draw(40, 6), draw(40, 6, seed=1)
    cosines = torch.nn.functional.cosine_similarity(questions[:, None], answers[None], dim=2)
    places = [1 + sum(float(c) > float(row[i]) for j, c in enumerate(row) if j != i) for i, row in enumerate(cosines)]
    found = recalls(3 * questions, 0.2 * answers)
    for k in (1, 5, 10):
        assert found[f"r{k}"] == pytest.approx(sum(place <= k for place in places) / 40)
    assert found["median_rank"] == sorted(places)[19:21][0] / 2 + sorted(places)[20] / 2


def test_right_ones_at_right_angles_are_all_found_and_equal_ones_by_chance():
    assert recalls(torch.eye(20), torch.eye(20)) == {"r1": 1, "r5": 1, "r10": 1, "median_rank": 1}
    same = torch.ones(20, 4)
    assert recalls(same, same) == pytest.approx({"r1": 1 / 20, "r5": 1 / 4, "r10": 1 / 2, "median_rank": 10.5})


def test_items_that_share_a_caption_share_its_place():
    """Items 0 and 1 have one text: each finds it, and is taken for the other half of the time."""
    twins = torch.eye(20)[[0, 0, *range(2, 20)]]
    assert recalls(twins, twins)["r1"] == pytest.approx(19 / 20)


def pairs(n, seed, labelled=True):
    """Two modalities that agree, but for noise, on one of four classes and on what the item is."""
    labels = torch.arange(n) % 4
    shared = 3 * torch.eye(6)[labels] + draw(n, 6, seed=seed)
    stages = {"rgb": shared + 0.3 * draw(n, 6, seed=seed + 1), "text": 0.1 * shared}
    return Embedded(stages, stages, labels if labelled else torch.empty(0, dtype=torch.long))


def test_both_directions_and_a_classifier_by_the_other_modality():
    measured = measure(pairs(80, 1), pairs(60, 5), ["retrieval"], pair=("rgb", "text"))
    assert [row.stage for row in measured.rows] == ["rgb", "text"]
    for row in measured.rows:
        figures = row.score("retrieval").figures
        assert figures["r1"] > 0.5 < figures["validation"]
        assert figures["low"] < figures["r1"] < figures["high"]
        assert figures["classified"] > 0.8
    bare = measure(pairs(80, 1, False), pairs(60, 5, False), ["retrieval"], pair=("rgb", "text"))
    assert bare.items == (80, 60)
    assert bare.blind_guess is None
    assert "classified" not in bare.rows[0].score("retrieval").figures


def test_examples_stand_for_classes_instead_of_training_items():
    train, test = pairs(80, 1), pairs(60, 5)
    wrong = torch.eye(6)[[1, 2, 3, 0]]  # each class's prompt is the direction of the next one
    shown = Embedded({"text": wrong}, {"text": wrong}, torch.arange(4))
    measured = measure(train, test, ["retrieval"], pair=("rgb", "text"), examples=shown)
    assert measured.rows[0].score("retrieval").figures["classified"] < 0.2
    assert "classified" not in measured.rows[1].score("retrieval").figures  # prompts are texts themselves
    means = class_means(torch.tensor([[2.0, 0], [0, 5], [0, -1]]), torch.tensor([0, 0, 1]), torch.arange(2))
    torch.testing.assert_close(means, torch.tensor([[0.5**0.5, 0.5**0.5], [0, -1]]))


def test_prompts_are_read_by_class(tmp_path):
    file = tmp_path / "prompts.csv"
    file.write_text("class,prompt\ndog,a dog\ncat,a cat\ndog,my dog\n")
    (batch,) = read_prompts(file, ["cat", "dog"], "text")
    assert as_texts(batch["x"]["text"]) == ["a dog", "a cat", "my dog"]
    assert batch["y"].tolist() == [1, 0, 1]
    for names, said in ((["cat", "dog", "cow"], "no prompt for the class 'cow'"), (["cat"], "no class 'dog'")):
        with pytest.raises(ValueError, match=said):
            read_prompts(file, names, "text")
    with pytest.raises(ValueError, match="there is no file"):
        read_prompts(tmp_path / "none.csv", [], "text")


def test_the_raw_input_of_a_text_is_how_often_it_says_a_word():
    counts = WordCounts()(as_bytes(["red on red", "on red, RED", "red on blue"]).float() / 255).pooled
    assert torch.equal(counts[0], counts[1])
    assert sorted(counts[0][counts[0] > 0].tolist()) == [1, 2]
    assert counts.sum(1).tolist() == [3, 3, 3]
    assert not torch.equal(counts[0], counts[2])


def folder(root):
    """Write pictures of colours, each with its text and a class, the channel that is brightest first."""
    x, lines = captioned(40), ["file,caption,class"]
    for k, (picture, text) in enumerate(zip(x["rgb"], as_texts(x["text"]), strict=True)):
        (root / "photos").mkdir(parents=True, exist_ok=True)
        Image.fromarray((picture * 255).byte().permute(1, 2, 0).numpy()).save(root / "photos" / f"{k}.png")
        lines.append(f'photos/{k}.png,"{text}",{"warm" if "bright red" in text else "cold"}')
    (root / "captions.csv").write_text("\n".join(lines))
    return root


def config(root):
    text = {"class_path": "pretext.Text", "init_args": {"width": 8, "depth": 1, "heads": 2, "rows": 64}}
    networks = {"rgb": {"class_path": "nets.TinyNet"}, "text": text}
    loss = {"class_path": "pretext.nn.embedding_losses.InfoNCE", "init_args": {"temperature": 0.07, "learnt": True}}
    task = {"first": "rgb", "second": "text", "outputs": 8, "loss": loss}
    return {
        "model": {
            "backbone": {"class_path": "pretext.MultiModal", "init_args": {"backbones": networks}},
            "tasks": {"clip": {"class_path": "pretext.Embed", "init_args": task}},
        },
        "data": {"class_path": "datamodules.Captions", "init_args": {"root": str(root), "canvas": 12, "batch_size": 8}},
        "trainer": {"max_steps": 2, "max_epochs": -1, "accelerator": "cpu", "limit_val_batches": 0},
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    home = tmp_path_factory.mktemp("pairs")
    plain = config(folder(home / "data"))
    (home / "clip.yaml").write_text(yaml.safe_dump(plain))
    words = ["--trainer.default_root_dir", str(home / "run"), "--trainer.log_every_n_steps", "1"]
    assert main(["fit", "-c", str(home / "clip.yaml"), *words]) == 0
    return home / "run"


def test_a_run_is_probed_in_both_directions_beside_itself_untrained(run, capsys):
    prompts = run.parent / "prompts.csv"
    prompts.write_text("class,prompt\nwarm,bright red\ncold,black red\ncold,dim red\n")
    assert main(["probe", str(run), "--protocols", "retrieval", "--classes", str(prompts)]) == 0
    printed = capsys.readouterr().out
    assert "Retrieval" in printed
    assert "Beside scores their 95 % intervals" in " ".join(printed.split())
    assert "best stage" not in printed  # nothing is chosen
    rows = [line.split()[:2] for line in printed.splitlines() if line]
    assert all([whose, stage] in rows for whose in ("trained", "random") for stage in ("rgb", "text"))
    result = json.loads((run / "probe.json").read_text())
    assert [(row["features"], row["stage"]) for row in result["rows"]] == [
        (whose, stage) for whose in ("trained", "random") for stage in ("rgb", "text")
    ]
    assert result["data"]["test"] == 8
    assert 0 <= result["rows"][0]["retrieval"]["classified"] <= 1
    assert main(["report", str(run)]) == 0
    assert "recall at 1" in (run / "report.html").read_text()


def test_python_probes_pairs_too_and_one_network_of_them(run):
    found = pretext.probe(run, protocols=["retrieval"], folder=run.parent / "python")
    assert {row.features for row in found.stages} == {"trained", "random"}
    words = pretext.probe(run, protocols=["knn"], modality="text", folder=run.parent / "text")
    assert [(row.features, row.stage) for row in words.stages][-1] == ("raw", "words")


def test_what_cannot_be_retrieved_is_one_line(run, tmp_path, capsys):
    with pytest.raises(ValueError, match="probe them separately"):
        of_two_encoders(protocols_named(["knn", "retrieval"]))
    assert main(["probe", str(run), "--protocols", "retrieval", "--data", "datamodules.Digits"]) == 1
    told = capsys.readouterr().err
    assert "the data has one modality without a name, the encoders read rgb and text" in told
    assert main(["probe", "--backbone", "nets.TinyNet", "--protocols", "retrieval"]) == 1
    assert "is one network" in capsys.readouterr().err
