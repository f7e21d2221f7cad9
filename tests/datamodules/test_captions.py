"""Captions: photos beside their own texts, one of several by keyed chance, and what a file may not say."""

import json

import pytest
import torch
from grouped import grouped
from PIL import Image

from datamodules import DataError
from datamodules.captions import Captions, text_bytes
from pretext.ops.words import as_bytes, as_texts

COLOURS = {"red": (255, 0, 0), "lime": (0, 255, 0), "blue": (0, 0, 255)}


def folder(root, lines, name="captions.csv"):
    """Write 12 photos of one colour each and a captions file."""
    for k in range(12):
        place = root / "photos" / f"{k}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 16), list(COLOURS.values())[k % 3]).save(place)
    (root / name).write_text(lines)
    return root


def several(*columns):
    """Three captions of each photo; the colour is said in each."""
    head = ",".join(["file", "caption", *(name for name, _ in columns)])
    rows = [
        ",".join([f"photos/{k}.png", f"{words} {list(COLOURS)[k % 3]}", *(make(k) for _, make in columns)])
        for k in range(12)
        for words in ("first", "second", "third")
    ]
    return "\n".join([head, *rows]) + "\n"


CLASS = ("class", lambda k: list(COLOURS)[k % 3])
SPLIT = ("split", lambda k: "test" if k >= 9 else "train")


def build(root, **options):
    return Captions(root, **grouped(Captions, canvas=8, batch_size=4, workers=1, **options))


def told(batches):
    return {
        i: (x, text)
        for b in batches
        for i, x, text in zip(b["index"].tolist(), b["x"]["rgb"], as_texts(b["x"]["text"]), strict=True)
    }


def test_a_photo_stands_beside_its_own_text_and_label(tmp_path):
    data = build(folder(tmp_path, several(CLASS, SPLIT)))
    assert data.classes == ["blue", "lime", "red"]
    for split, count in (("train", 9), ("test", 3)):
        batches = list(data.ordered(split))
        seen = told(batches)
        assert sorted(seen) == list(range(count))
        for photo, text in seen.values():
            word, colour = text.split()
            assert word == "first"  # outside training always
            assert photo[:, 4, 4].tolist() == list(COLOURS[colour])
        labels = torch.cat([batch["y"] for batch in batches])
        assert [data.classes[label] for label in labels] == [text.split()[1] for _, text in seen.values()]


def test_in_training_captions_are_drawn_by_seed_and_epoch_and_always_alike(tmp_path):
    root = folder(tmp_path, several(SPLIT))
    data = build(root, val=0)
    assert data.classes == []
    loader = data.train_dataloader()

    def epoch(number, loader=loader):
        loader.set_epoch(number)
        return {i: text for i, (_, text) in told(loader).items()}

    rounds = [epoch(number) for number in range(8)]
    assert rounds[3] == epoch(3, build(root, val=0).train_dataloader())
    words = [text.split()[0] for seen in rounds for text in seen.values()]
    expected, deviation = len(words) / 3, (len(words) * 2 / 9) ** 0.5
    assert all(abs(words.count(word) - expected) < 4 * deviation for word in ("first", "second", "third"))
    other = build(root, val=0, seed=1).train_dataloader()
    assert rounds[0] != {i: text for i, (_, text) in told(other).items()}


def test_json_lines_say_the_same_as_csv(tmp_path):
    root = folder(tmp_path / "a", several(CLASS, SPLIT))
    lines = [
        {
            "file": f"photos/{k}.png",
            "captions": [f"{w} {list(COLOURS)[k % 3]}" for w in ("first", "second", "third")],
            "class": CLASS[1](k),
            "split": SPLIT[1](k),
        }
        for k in range(12)
    ]
    other = folder(tmp_path / "b", "\n".join(map(json.dumps, lines)), "captions.jsonl")
    assert build(root)._items == build(other)._items
    assert build(root).listed("train") == build(other).listed("train")
    assert build(root).listed("train") != build(folder(tmp_path / "c", several(CLASS, SPLIT)), length=9).listed("train")


def test_without_a_split_a_share_is_held_out(tmp_path):
    data = build(folder(tmp_path, several()), test=0.25)
    assert (len(told(data.ordered("train"))), len(told(data.ordered("test")))) == (9, 3)


def test_bytes_are_what_networks_read():
    texts = ["a red circle", "größe", "", "x" * 99]
    assert torch.equal(text_bytes(texts, 40), as_bytes(texts, 40))
    assert as_texts(text_bytes(["abcö"], 4)) == ["abc"]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("photo,text\na,b\n", "wants the columns file and caption"),
        ("file,caption\nphotos/0.png,\n", "line 2: wants a file and a caption"),
        ("file,caption\n", "names no photo"),
        ("file,caption,split\nphotos/0.png,a,val\n", "line 2: the split is 'val'"),
        (
            "file,caption,class\nphotos/0.png,a,red\nphotos/0.png,b,blue\n",
            "line 3: photos/0.png was 'red' and is 'blue'",
        ),
    ],
)
def test_what_a_file_may_not_say_is_one_line(lines, said, tmp_path):
    with pytest.raises(DataError, match=r"^[^\n]*$") as wrong:
        build(folder(tmp_path, lines)).setup("fit")
    assert said in str(wrong.value)


def test_a_folder_without_captions_and_lines_that_are_no_json_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"no captions\.csv or captions\.jsonl"):
        build(folder(tmp_path / "a", "", "other.csv")).setup("fit")
    with pytest.raises(DataError, match="line 1: no JSON"):
        build(folder(tmp_path / "b", "{", "captions.jsonl")).setup("fit")
