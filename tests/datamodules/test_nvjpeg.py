"""What a CUDA device decodes and what it leaves to the processor."""

import io
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import picture
from PIL import Image

from datamodules import DataError, Photos, Reading, Splitting
from datamodules.file_source import FileSource
from datamodules.images import nvjpeg
from datamodules.images.canvases import Canvases, Decoding
from datamodules.images.decode import decode
from datamodules.images.jpeg_headers import JpegHeader, jpeg_header, slow_header
from datamodules.images.nvjpeg import OnDevice, plain_jpeg, resized
from datamodules.keeping import shelf
from datamodules.keeping.records import ENTRY, HEADER
from datamodules.keeping.store import DATA, folder_of, size_of
from datamodules.options import DISK, Disk


@pytest.fixture
def photos(tmp_path):
    """Write eight smooth pictures, JPEGs of all kinds and others; return the folder."""
    turned = Image.Exif()
    turned[0x0112] = 6
    upright = Image.Exif()
    upright[0x0112] = 1
    kinds = [("RGB", {}), ("L", {}), ("RGB", {"exif": upright}), ("RGB", {"exif": turned}), ("CMYK", {})]
    for k, (mode, options) in enumerate(kinds):
        Image.fromarray(picture(k, 60, 84)).convert(mode).save(tmp_path / f"{k}.jpg", quality=95, **options)
    Image.fromarray(picture(5)).save(tmp_path / "5.png")
    (tmp_path / "6.jpg").write_bytes((tmp_path / "0.jpg").read_bytes()[:200])
    (tmp_path / "7.jpg").write_bytes(b"")
    return tmp_path


def test_only_upright_jpegs_of_usual_colours_and_size_are_for_the_device(photos):
    files = sorted(photos.iterdir())
    taken = [file.name for file in files if plain_jpeg(file, Decoding(12)) is not None]
    assert taken[:3] == ["0.jpg", "1.jpg", "2.jpg"]
    assert not {"3.jpg", "4.jpg", "5.png", "7.jpg"} & set(taken)
    assert not any(plain_jpeg(file, Decoding(12, max_pixels=60 * 84 - 1)) is not None for file in files)


def jpeg(mode="RGB", *segments, **options):
    """Write a small JPEG, 28 x 20, with more segments (marker and content) right after its first marker."""
    out = io.BytesIO()
    Image.fromarray(picture(1)).convert(mode).save(out, "JPEG", **options)
    more = b"".join(bytes([0xFF, kind]) + struct.pack(">H", len(body) + 2) + body for kind, body in segments)
    return out.getvalue()[:2] + more + out.getvalue()[2:]


def exif(*entries, order="<", head=None):
    """Make EXIF data of entries (tag, type, count, four bytes or a number of 16 bits)."""
    head = head or {"<": b"II*\0", ">": b"MM\0*"}[order]
    rows = [
        struct.pack(order + "HHL", *row) + (value if isinstance(value, bytes) else struct.pack(order + "HH", value, 0))
        for *row, value in entries
    ]
    return b"Exif\0\0" + head + struct.pack(order + "LH", 8, len(rows)) + b"".join(rows) + bytes(4)


def turned(value, **options):
    maker = (0x010F, 2, 4, b"abc\0")  # stands before
    return 0xE1, exif(maker, (0x0112, 3, 1, value), **options)


def by_pillow(data):
    """Read a header with Pillow alone, which warns of broken EXIF; None if it refuses it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return slow_header(memoryview(data))
    except Exception:
        return None


XMP = b"http://ns.adobe.com/xap/1.0/\0<rdf tiff:Orientation=%s/>"
PLAIN_XMP = XMP.replace(b"tiff:Orientation", b"tiff:Make") % b'"a"'
USUAL = {
    "baseline": jpeg(),
    "progressive": jpeg(progressive=True),
    "grey": jpeg("L"),
    "CMYK": jpeg("CMYK"),
    "several tables, comment, restarts": jpeg(comment=b"words", optimize=True, subsampling=0, restart_marker_rows=1),
    **{f"orientation {k}": jpeg("RGB", turned(k)) for k in (*range(11), 65535)},
    **{f"orientation {k}, big-endian": jpeg("RGB", turned(k, order=">")) for k in (0, 1, 6, 9)},
    "EXIF by Pillow": jpeg(exif=bytes(Image.Exif())),
    "EXIF without one": jpeg("RGB", (0xE1, exif((0x010F, 2, 4, b"abc\0")))),
    "EXIF without a thing": jpeg("RGB", (0xE1, exif())),
    "EXIF without content": jpeg("RGB", (0xE1, b"Exif\0\0")),
    "EXIF with data elsewhere": jpeg("RGB", (0xE1, exif((0x010F, 2, 6, bytes([20, 0, 0, 0])), (0x0112, 3, 1, 6)))),
    "EXIF in two segments": jpeg("RGB", (0xE1, turned(6)[1][:20]), (0xE1, b"Exif\0\0" + turned(6)[1][20:])),
    "two orientations": jpeg("RGB", turned(1), turned(6)),
    "other segments before": jpeg("RGB", (0xE1, PLAIN_XMP), turned(8), (0xE1, b"other"), (0xE2, b"ICC"), (0xED, b"8B")),
    "XMP with another orientation": jpeg("RGB", turned(3), (0xE1, XMP % b'"6"')),
    "fill bytes": jpeg("RGB", turned(6)).replace(b"\xff\xdb", b"\xff\xff\xff\xdb"),
}
UNUSUAL = {
    "XMP alone": jpeg("RGB", (0xE1, XMP % b'"6"')),
    "XMP alone, upright": jpeg("RGB", (0xE1, XMP % b'"1"')),
    "EXIF of another kind": jpeg("RGB", turned(6, head=b"XX*\0")),
    "EXIF twice in one": jpeg("RGB", (0xE1, b"Exif\0\0" + turned(6)[1])),
    "EXIF cut off": jpeg("RGB", (0xE1, turned(6)[1][:24])),
    "EXIF with data beyond its end": jpeg("RGB", (0xE1, exif((0x010F, 2, 999, bytes(4)), (0x0112, 3, 1, 6)))),
    "a long orientation": jpeg("RGB", (0xE1, exif((0x0112, 4, 1, struct.pack("<L", 6))))),
    "two values": jpeg("RGB", (0xE1, exif((0x0112, 3, 2, struct.pack("<HH", 6, 1))))),
    "arithmetic": jpeg().replace(b"\xff\xc0", b"\xff\xc9"),
    "12 bits": jpeg().replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c"),
    "no height": jpeg().replace(b"\x08\0\x14\0\x1c", b"\x08\0\0\0\x1c"),
    "two colours": jpeg().replace(b"\x08\0\x14\0\x1c\x03", b"\x08\0\x14\0\x1c\x02"),
    "two frames": jpeg("RGB", (0xC0, bytes([8, 0, 9, 0, 9, 1, 1, 17, 0]))),
    "no frame": jpeg().replace(b"\xff\xc0", b"\xff\xfe"),
    "a table of no size": jpeg("RGB", (0xDB, bytes(7))),
    "junk between": jpeg().replace(b"\xff\xdb", b"junk\xff\xdb"),
    "a segment of no size": jpeg().replace(b"\xff\xdb\0C", b"\xff\xdb\0\1"),
    "a first marker alone": b"\xff\xd8",
}


@pytest.mark.parametrize("name", USUAL)
def test_a_header_is_read_as_pillow_reads_it(name):
    assert jpeg_header(memoryview(USUAL[name])) == by_pillow(USUAL[name]) is not None


def test_headers_are_what_was_written():
    known = {name: jpeg_header(memoryview(data)) for name, data in USUAL.items()}
    assert known["baseline"] == known["progressive"] == known["fill bytes"]._replace(orientation=1)
    assert known["baseline"] == JpegHeader(28, 20, 3, 1)
    assert (known["grey"].colours, known["CMYK"].colours) == (1, 4)
    assert known["orientation 9"].orientation == known["orientation 9, big-endian"].orientation == 9
    assert known["EXIF in two segments"].orientation == known["EXIF with data elsewhere"].orientation == 6
    assert (known["two orientations"].orientation, known["XMP with another orientation"].orientation) == (1, 3)


@pytest.mark.parametrize("name", UNUSUAL)
def test_an_unusual_header_is_left_to_pillow(name, tmp_path):
    (tmp_path / "a.jpg").write_bytes(UNUSUAL[name])
    assert jpeg_header(memoryview(UNUSUAL[name])) is None
    found = by_pillow(UNUSUAL[name])
    fine = found is not None and found.orientation == 1 and found.colours in (1, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert (plain_jpeg(tmp_path / "a.jpg", Decoding(12)) is not None) == fine


def test_a_header_that_is_cut_off_or_changed_is_read_as_pillow_reads_it_or_not_at_all(tmp_path):
    data = jpeg("RGB", turned(6), progressive=True)
    pixels = data.index(b"\xff\xda")
    for end in range(pixels + 2):
        assert jpeg_header(memoryview(data[:end])) is None
    (tmp_path / "a.jpg").write_bytes(data[: pixels - 30])
    assert plain_jpeg(tmp_path / "a.jpg", Decoding(12)) is None
    rng = np.random.default_rng(0)
    for _ in range(1000):
        broken = bytearray(data)
        broken[rng.integers(2, pixels)] = rng.integers(256)
        assert jpeg_header(memoryview(broken)) in (None, by_pillow(bytes(broken)))


@pytest.mark.parametrize("whole", [False, True])
def test_the_device_resizes_as_the_processor_does(photos, whole):
    pixels = torch.from_numpy(np.asarray(Image.open(photos / "0.jpg")).copy()).permute(2, 0, 1)
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(photos / "same.png")
    ((numbers, ours),) = resized([pixels], Decoding(20, whole=whole))
    assert (numbers, ours.shape) == ([0], (1, 3, 20, 20))
    assert (ours[0].int() - torch.from_numpy(decode(photos / "same.png", 20, 10**6, whole)).int()).abs().max() <= 1


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("at_once", [1, 3 * 30**2 * 2, 2**26])
def test_pictures_of_one_size_are_resized_together_as_each_alone(monkeypatch, whole, at_once):
    monkeypatch.setattr(nvjpeg, "_AT_ONCE", at_once)
    sizes = [(30, 40), (50, 40), (30, 40), (30, 33), (30, 40)]
    images = [torch.from_numpy(picture(k, *size).copy()).permute(2, 0, 1) for k, size in enumerate(sizes)]
    how, found = Decoding(16, whole=whole), {}
    for numbers, canvases in resized(images, how):
        found |= dict(zip(numbers, canvases, strict=True))
    assert sorted(found) == list(range(5))
    groups = len(list(resized(images, how)))
    assert groups == {1: 5, 2**26: 3 if whole else 2}.get(at_once, groups)
    for k, image in enumerate(images):
        assert torch.equal(found[k], next(resized([image], how))[1][0])


CPU = torch.device("cpu")


def on_cpu(files, device):
    """Decode by the processor what a device would."""
    assert device == CPU
    return [torch.ops.image.decode_jpeg(file, 3, False) for file in files]


def opened(root, disk=DISK, decode=on_cpu, canvas=12, **options):
    """Open all files of a folder for both decoders, and what is told of bad ones."""
    names, told = sorted(file.name for file in Path(root).iterdir() if file.is_file()), {}
    y = torch.arange(len(names)) + 100
    reading = Reading(workers=1, max_bad=options.pop("max_bad", 0.5))

    def files():
        return FileSource(root, names, y, Canvases(Decoding(canvas)), reading, told.update, disk=disk, **options)

    return OnDevice(files(), CPU, decode), files(), told


def plan(*batches):
    return [torch.tensor(batch) for batch in batches]


def same_but_for_rounding(there, here):
    for one, other in zip(there, here, strict=True):
        assert one["index"].tolist() == other["index"].tolist()
        assert one["y"].tolist() == other["y"].tolist() == [k + 100 for k in one["index"].tolist()]
        assert one["x"].dtype == torch.uint8
        assert one["x"].is_contiguous()
        assert (one["x"].int() - other["x"].int()).abs().max() <= 1


PLANS = {
    "mixed": plan([5, 0, 3, 1], [2, 4]),
    "the device's alone": plan([2, 0, 1], [1]),
    "the processor's alone": plan([4, 5, 3], [3]),
    "one after the other": plan([0], [5], [1], [3], [2], [4], [0], [5]),
    "with bad ones": plan([6, 0, 7, 3], [1, 7], [5, 6, 2]),
    "with a broken one among the device's": plan([0, 1], [2, 6, 1, 5], [6], [0, 2]),
    "of bad ones alone": plan([7], [6, 7], [6]),
    "twice in one": plan([0, 0, 5, 5, 7, 7, 6, 6]),
    "none": [],
}


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize("replaced", [False, True])
def test_batches_are_the_processors_in_slots_order_and_values(photos, name, replaced):
    there, here, told = opened(photos)
    pool = torch.arange(8) if replaced else None
    ours = list(there.read(PLANS[name], pool))
    causes = dict(told)
    told.clear()
    same_but_for_rounding(ours, here.read(PLANS[name], pool))
    assert causes == told
    assert len(ours) == (len(PLANS[name]) if replaced else sum(bool({*range(6)} & {*p.tolist()}) for p in PLANS[name]))


def test_a_batch_with_a_broken_jpeg_is_left_to_the_processor(photos):
    (photos / "6.jpg").write_bytes((photos / "0.jpg").read_bytes()[:-300])  # its header is whole
    asked = []

    def refusing(files, device):
        asked.append(len(files))
        return on_cpu(files, device)

    there, here, told = opened(photos, decode=refusing)
    batches = list(there.read(plan([0, 1], [0, 6, 3, 2], [2, 1])))
    assert asked == [2, 3, 2]
    exact = next(here.read(plan([0, 6, 3, 2])))
    assert batches[1]["index"].tolist() == exact["index"].tolist() == [0, 3, 2]
    assert torch.equal(batches[1]["x"], exact["x"])  # the processor's own, to the bit
    assert set(told) == {"6.jpg"}
    (replaced,) = there.read(plan([0, 6, 3, 2]), torch.arange(6 + 1))
    assert replaced["index"].tolist() == [0, 0, 3, 2]


def test_too_many_bad_files_and_a_pool_of_bad_ones_stop_the_pass(photos):
    there, _, _ = opened(photos, max_bad=0.2)
    with pytest.raises(DataError, match="at least 2 of 8 files"):
        list(there.read(plan([0, 7], [1, 6, 2], [3])))
    there, _, _ = opened(photos)
    with pytest.raises(DataError, match="none of 2 files"):
        list(there.read(plan([7]), torch.tensor([6, 7])))


def test_a_pass_that_is_left_early_can_be_begun_again(photos):
    there, here, _ = opened(photos)
    batches = plan(*([k % 6, (k + 1) % 6] for k in range(40)))
    for _ in range(2):
        begun = there.read(batches)
        next(begun)
        begun.close()
    same_but_for_rounding(there.read(batches), here.read(batches))


def test_the_shelf_is_asked_once_an_epoch_and_files_are_read_only_a_few_batches_ahead(photos, tmp_path, monkeypatch):
    asked, looked = [], []
    ask, look = shelf.Keeping.shelf, nvjpeg.plain_jpeg
    monkeypatch.setattr(shelf.Keeping, "shelf", lambda *args: (asked.append(1), ask(*args))[1])
    monkeypatch.setattr(nvjpeg, "plain_jpeg", lambda path, how: (looked.append(path), look(path, how))[1])
    there, _, _ = opened(photos, Disk(tmp_path / "kept"))
    batches = plan(*([0, 3, 5] for _ in range(30)))
    for epoch in range(1, 4):
        for k, _ in enumerate(there.read(batches)):
            assert len(looked) <= 3 * (30 * (epoch - 1) + k + 6)
        assert len(asked) == epoch
    list(there.read(plan([0, 1], [2])))  # nothing for the processor
    assert len(asked) == 3


@pytest.mark.parametrize("free", [0, 4])
def test_what_others_keep_goes_only_for_files_that_the_processor_is_known_to_decode(photos, tmp_path, free):
    cache = tmp_path / "kept"
    _, others, _ = opened(photos, Disk(cache), canvas=32)
    list(others.read(plan([0, 1, 2, 3, 4, 5])))
    home = folder_of(cache, others.decoder.kept()) / DATA
    limit = size_of(cache) + HEADER + ENTRY + free * (3 * 32**2 + ENTRY)

    there, _, _ = opened(photos, Disk(cache, limit / 1e9), canvas=33)
    list(there.read(plan([0, 1], [2])))
    assert home.exists()
    for _ in range(2):
        list(there.read(plan([0, 3, 5])))
        assert home.exists() == bool(free)  # there is room for the two, not for all eight
    found = there.files._keeping.shelf(np.zeros(8, np.bool_)).offsets >= 0
    assert found.nonzero()[0].tolist() == [3, 5]
    _, all_of_them, _ = opened(photos, Disk(cache, limit / 1e9), canvas=33)
    list(all_of_them.read(plan([0])))
    assert not home.exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_device_cuda_is_refused_and_auto_is_the_processor(photos):
    def data(decoder):
        return Photos(photos, 12, reading=Reading(max_bad=0.5, decoder=decoder), split=Splitting(test=0, val=0))

    with pytest.raises(DataError, match=r'reading.decoder is "cuda", but there is no CUDA device'):
        data("cuda").setup("fit")
    assert data("auto").fingerprint("train") == data("cpu").fingerprint("train")
    with pytest.raises(DataError, match="decoder='gpu'"):
        data("gpu")


@pytest.mark.cuda
def test_the_device_decodes_what_the_processor_does_but_for_a_few_levels(photos):
    def data(decoder):
        reading = Reading(max_bad=0.5, decoder=decoder)
        return Photos(photos, 12, batch_size=3, reading=reading, split=Splitting(test=0, val=0))

    there, here = (list(data(decoder).ordered("train")) for decoder in ("cuda", "cpu"))
    for one, other in zip(there, here, strict=True):
        assert one["index"].tolist() == other["index"].tolist()
        assert one["x"].is_cuda
        assert (one["x"].cpu().int() - other["x"].int()).abs().max() <= 4  # nvJPEG's inverse transform and colours
    for batch in data("cuda").train_dataloader():
        assert len(batch["x"]) == 3
    assert data("cuda").fingerprint("train") != data("cpu").fingerprint("train")


@pytest.mark.cuda
def test_pinned_memory_is_used_again_and_never_while_a_copy_reads_it(photos):
    data = Photos(photos, 12, batch_size=1, reading=Reading(max_bad=0.5), split=Splitting(test=0, val=0))
    wanted = [batch["x"].clone() for batch in data.ordered("train")]
    places, copies = set(), []
    for _ in range(50):
        for batch in data.ordered("train"):
            assert batch["x"].is_pinned()
            places.add(batch["x"].data_ptr())
            copies.append(batch["x"].to("cuda", non_blocking=True))
    assert len(places) <= 16
    for k, copy in enumerate(copies):
        assert torch.equal(copy.cpu(), wanted[k % len(wanted)])
