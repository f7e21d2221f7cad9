"""The one pass over files, and the rule for bad ones, alike for pictures, sounds and videos."""

import os

import media
import numpy as np
import pytest
import torch
from conftest import picture
from PIL import Image

from datamodules import DataError, Reading
from datamodules.bad_files import BadFiles
from datamodules.file_source import FileSource
from datamodules.images.canvases import Canvases, Decoding
from datamodules.loader import batch_of
from datamodules.sounds.windows import Hearing, SoundWindows
from datamodules.videos.cutting import Cutting
from datamodules.videos.windows import ClipWindows

COUNT, RATE = 10, 8000


def write_picture(path, k):
    Image.fromarray(picture(k)).save(path)


def write_sound(path, k):
    media.write(path, sound=np.random.default_rng(k).normal(0, 0.1, (1, 3000)).astype(np.float32), rate=RATE)


def write_video(path, k):
    media.write(path, media.numbered(8, first=20 * k), media.regular(8, 25))


CUTTING = Cutting(("rgb",), 4, 25, 4, 16, RATE, 2, False)
KINDS = {  # suffix, how one file is written, what decodes it, bytes that are kept in memory
    "pictures": (".png", write_picture, lambda: Canvases(Decoding(12)), 0),
    "kept pictures": (".png", write_picture, lambda: Canvases(Decoding(12)), 10**9),
    "sounds": (".wav", write_sound, lambda: SoundWindows(Hearing(RATE, 2000, 2)), 0),
    "kept sounds": (".wav", write_sound, lambda: SoundWindows(Hearing(RATE, 2000, 2)), 10**9),
    "videos": (".mp4", write_video, lambda: ClipWindows(CUTTING, None), 0),
}


@pytest.fixture(params=KINDS)
def files(request, tmp_path):
    """Ten good files of a kind, and what opens them: `files(bad=(3,), max_bad=0.5, workers=2)`."""
    suffix, write, decoder, cache = KINDS[request.param]
    names = [f"{k}{suffix}" for k in range(COUNT)]
    for k, name in enumerate(names):
        write(tmp_path / name, k)

    def open_source(bad=(), max_bad=0.5, workers=2):
        for k in bad:
            (tmp_path / names[k]).write_bytes(b"")
        told = {}
        y = torch.arange(COUNT) + 100
        source = FileSource(tmp_path, names, y, decoder(), Reading(workers, max_bad), told.update, cache)
        return source, told

    open_source.repair = lambda k: write(tmp_path / names[k], k)
    open_source.names = names
    return open_source


def plan(*batches):
    return [torch.tensor(batch) for batch in batches]


def indices(batches):
    return [batch["index"].tolist() for batch in batches]


def test_an_item_is_the_same_wherever_it_stands_and_whoever_decodes_it(files):
    source, _ = files()
    alone = [next(source.read(plan([k]))) for k in range(COUNT)]
    assert len({batch["x"].numpy().tobytes() for batch in alone}) == COUNT
    order = [7, 2, 9, 0, 1, 8]
    for workers in (1, 4):
        (batch,) = files(workers=workers)[0].read(plan(order))
        assert batch["index"].tolist() == order
        assert batch["y"].tolist() == [100 + k for k in order]
        assert torch.equal(batch["x"], torch.cat([alone[k]["x"] for k in order]))


def test_batches_come_in_the_order_of_the_plan_as_often_as_it_is_read(files):
    source, _ = files()
    order = [[k % COUNT, (k + 3) % COUNT] for k in range(12)]  # more than are decoded ahead
    for _ in range(2):
        assert indices(source.read(plan(*order))) == order


def test_several_rows_of_an_item_follow_one_another(files):
    source = files()[0].cut("spread")
    (batch,) = source.read(plan([4, 1]))
    rows = source.rows
    assert batch["index"].tolist() == [4] * rows + [1] * rows
    assert batch["y"].tolist() == [104] * rows + [101] * rows
    assert len(batch["x"]) == 2 * rows


def test_without_a_pool_bad_items_are_left_out(files):
    source, told = files(bad=(0, 5, 6))
    for pick in ("centre", "spread"):
        cut = source.cut(pick)
        batches = list(cut.read(plan([0, 1, 2], [3, 5], [5, 6], [7])))
        rows = [[k for k in kept for _ in range(cut.rows)] for kept in ([1, 2], [3], [7])]  # the third has none left
        assert indices(batches) == rows
        good = torch.cat([batch["x"] for batch in files()[0].cut(pick).read(plan([1, 2], [3], [7]))])
        assert torch.equal(torch.cat([batch["x"] for batch in batches]), good)
    assert told == {files.names[k]: "empty file" for k in (0, 5, 6)}


def test_with_a_pool_a_bad_item_is_replaced_by_the_next_good_one_going_round_at_the_end(files):
    source, _ = files(bad=(3, 4, 9))
    pool = torch.tensor([1, 3, 4, 6, 9])  # 9 is the last: its turn goes to 1
    (batch,) = source.read(plan([3, 9, 4, 6]), pool)
    assert batch["index"].tolist() == [6, 1, 6, 6]
    (wanted,) = source.read(plan([6, 1, 6, 6]))
    assert torch.equal(batch["x"], wanted["x"])
    assert torch.equal(batch["y"], wanted["y"])


def test_a_pass_that_begins_later_replaces_alike(files):
    """Whether a file is known to be bad already does not matter: a resumed run has the batches of the whole one."""
    whole = list(files(bad=(2, 3, 7))[0].read(plan([2, 7], [3, 0], [7, 9], [3, 2]), torch.arange(COUNT)))
    for start in range(1, 4):
        later = list(files()[0].read(plan([2, 7], [3, 0], [7, 9], [3, 2])[start:], torch.arange(COUNT)))
        assert indices(later) == indices(whole[start:])
        assert all(torch.equal(a["x"], b["x"]) for a, b in zip(later, whole[start:], strict=True))


def test_exactly_max_bad_may_be_bad_and_one_more_stops_with_counts_names_and_causes(files):
    source, told = files(bad=(1, 2, 8), max_bad=0.3)
    assert len(list(source.read(plan(range(COUNT))))) == 1
    source, _ = files(max_bad=0.29)
    with pytest.raises(DataError, match=rf"at least 3 of {COUNT} files in .* cannot be used.* max_bad=0\.29 of") as got:
        list(source.read(plan(range(COUNT))))
    assert str(got.value).splitlines()[1:] == [f"  {files.names[k]}: empty file" for k in (1, 2, 8)]
    assert len(told) == 3


def test_a_pool_without_any_good_item_says_so_with_the_causes(files):
    source, _ = files(bad=(1, 2), max_bad=1)
    with pytest.raises(DataError, match=r"none of 2 files in .* can be used(.|\n)*: empty file"):
        list(source.read(plan([1]), torch.tensor([1, 2])))


def test_a_file_is_tried_again_only_where_another_part_of_it_may_be_good(files):
    source, _ = files(bad=(4,))
    assert indices(source.read(plan([4, 5]))) == [[5]]
    files.repair(4)
    assert indices(source.read(plan([4, 5]))) == ([[5]] if source.decoder.stays_bad else [[4, 5]])


def test_the_fingerprint_is_that_of_the_cut_and_changes_with_a_file(files):
    source, _ = files()
    first = source.fingerprint()
    assert source.cut("spread").fingerprint() == files(workers=1, max_bad=0.9)[0].fingerprint() == first
    assert files(bad=(1,))[0].fingerprint() != first


def test_the_undated_fingerprint_knows_names_and_labels_alone(files):
    source, _ = files()
    undated = source.fingerprint(dated=False)
    assert undated != source.fingerprint()
    for name in source.names:
        os.utime(source.root / name, ns=(1, 1))
    assert source.fingerprint(dated=False) == undated
    source.names = [*source.names[1:], source.names[0]]
    assert source.fingerprint(dated=False) != undated


# The rule alone


def ledger(tmp_path, max_bad=1.0, advice=()):
    told = []
    return BadFiles(tmp_path, [f"{k}.x" for k in range(100)], max_bad, dict(advice), told.append), told


def test_each_bad_file_is_told_once(tmp_path):
    bad, told = ledger(tmp_path)
    bad.note({3: "cut short"})
    bad.note({3: "cut short", 5: "empty"})
    bad.note({5: "empty"})
    bad.note({})
    assert told == [{"3.x": "cut short"}, {"5.x": "empty"}]
    assert [k for k in range(100) if k in bad] == [3, 5]


def test_too_many_are_counted_by_kind_with_what_to_do_and_twenty_are_named(tmp_path):
    bad, _ = ledger(tmp_path, max_bad=0.2, advice={"silent": "leave sound out"})
    with pytest.raises(DataError) as caught:
        bad.note({k: f"silent: {k}" if k % 3 else "no sound track" for k in range(30)})
    head, *lines = str(caught.value).splitlines()
    assert head.endswith("max_bad=0.2 of them; leave sound out, repair or remove them, or raise max_bad:")
    assert lines[:2] == ["  20 x silent", "  10 x no sound track"]
    assert lines[2:4] == ["  0.x: no sound track", "  1.x: silent: 1"]
    assert lines[21:] == ["  19.x: silent: 19", "  and 10 more"]


def test_labels_of_any_shape_follow_their_items():
    y = torch.arange(12).view(4, 3)
    batch = batch_of(torch.zeros(2, 1), torch.tensor([3, 1]), y)
    assert batch["y"].tolist() == [[9, 10, 11], [3, 4, 5]]
