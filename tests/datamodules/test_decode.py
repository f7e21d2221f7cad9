import io
import os
import resource
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from datamodules.bad_files import cause_of
from datamodules.base import DataError
from datamodules.images.decode import SUFFIXES, decode
from datamodules.listing import scan

MANY = 100_000_000


def reference(data, canvas):
    """What PIL makes of a file by the same rules: upright, RGB, centre square, one antialiased bilinear resize."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    return np.asarray(square.resize((canvas, canvas), Image.Resampling.BILINEAR)).transpose(2, 0, 1)


def encode(image, kind, **options):
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def photo(height=60, width=83, mode="RGB"):
    y, x = np.mgrid[:height, :width]
    rgb = np.stack([x * 255 // width, y * 255 // height, (x * y) % 256], -1).astype(np.uint8)
    return Image.fromarray(rgb).convert(mode)


FILES = {
    "colour.jpg": encode(photo(), "JPEG", quality=92),
    "tall.jpeg": encode(photo(83, 60), "JPEG"),
    "progressive.jpg": encode(photo(), "JPEG", progressive=True),
    "grey.JPG": encode(photo(mode="L"), "JPEG"),
    "print.jpg": encode(photo(mode="CMYK"), "JPEG"),
    "colour.png": encode(photo(), "PNG"),
    "alpha.png": encode(photo(mode="RGBA"), "PNG"),
    "palette.png": encode(photo(mode="P"), "PNG"),
    "bits.png": encode(photo(mode="1"), "PNG"),
    "lossy.webp": encode(photo(), "WEBP"),
    "alpha.webp": encode(photo(mode="RGBA"), "WEBP", lossless=True),
    "really a png.jpg": encode(photo(), "PNG"),
}


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_picture_of_the_canvas_size_is_its_own_pixels(tmp_path, orientation):
    image = photo(48, 48)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "square.png", exif=exif)
    turned = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "square.png")))
    assert (decode(tmp_path / "square.png", 48, MANY) == turned.transpose(2, 0, 1)).all()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("canvas", [16, 60, 100])
def test_a_canvas_is_what_pil_makes_of_the_file(tmp_path, name, canvas):
    (tmp_path / name).write_bytes(FILES[name])
    ours = decode(tmp_path / name, canvas, MANY)
    assert ours.dtype == np.uint8
    assert ours.shape == (3, canvas, canvas)
    assert np.abs(ours.astype(int) - reference(FILES[name], canvas)).max() <= 1  # fixed-point rounding of the filter


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_undone(tmp_path, kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(photo(), kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    (tmp_path / "photo").write_bytes(data)
    ours = decode(tmp_path / "photo", 60, MANY)
    assert np.abs(ours.astype(int) - reference(data, 60)).max() <= 1


@pytest.mark.parametrize("kind", ["WEBP", "GIF", "PNG"])
def test_of_an_animation_the_first_frame_is_shown(tmp_path, kind):
    grey = photo(mode="L")  # which a palette of 256 holds without loss
    more = [photo(mode="L").transpose(Image.Transpose.ROTATE_180)] * 2
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(grey, kind, save_all=True, append_images=more, duration=50, **options)
    (tmp_path / "film.webp").write_bytes(data)
    assert np.array_equal(decode(tmp_path / "film.webp", 60, MANY), reference(encode(grey, "PNG"), 60))
    with pytest.raises(DataError, match="83 x 60 pixels"):
        decode(tmp_path / "film.webp", 60, max_pixels=60 * 83 - 1)


def test_sixteen_bits_become_the_eight_leading_ones(tmp_path):
    grey = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    Image.fromarray(grey).save(tmp_path / "deep.png")
    ours = decode(tmp_path / "deep.png", 64, MANY)
    assert np.array_equal(ours[0], np.round(grey / 257).astype(np.uint8))
    assert np.array_equal(ours[0], ours[2])


def bomb():
    """Make a PNG of 20,000 x 20,000 pixels, one bit each, 1.2 GB once decoded, in 50 KB."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(bytes(20_000 * (1 + 20_000 // 8)), 9)
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path):
    (tmp_path / "bomb.png").write_bytes(bomb())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match="20000 x 20000 pixels, more than max_pixels=100000000"):
        decode(tmp_path / "bomb.png", 32, MANY)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KB on Linux


@pytest.mark.parametrize("name", ["colour.jpg", "colour.png", "lossy.webp"])
def test_the_pixel_limit_is_the_largest_picture_let_through(tmp_path, name):
    (tmp_path / name).write_bytes(FILES[name])
    decode(tmp_path / name, 16, max_pixels=60 * 83)
    with pytest.raises(DataError, match="83 x 60 pixels"):
        decode(tmp_path / name, 16, max_pixels=60 * 83 - 1)


@pytest.mark.parametrize("name", ["colour.jpg", "colour.png", "lossy.webp"])
@pytest.mark.parametrize("share", [0.2, 0.6, 0.9])
def test_a_truncated_file_is_an_error_of_one_line(tmp_path, name, share):
    (tmp_path / name).write_bytes(FILES[name][: int(share * len(FILES[name]))])
    with pytest.raises(Exception) as caught:  # noqa: PT011  (whatever the decoder raises)
        decode(tmp_path / name, 16, MANY)
    cause = cause_of(caught.value)
    assert cause
    assert "\n" not in cause
    assert ".cpp" not in cause


@pytest.mark.parametrize(("data", "cause"), [(b"", "empty file"), (b"a letter", "not a JPEG, PNG or WebP image")])
def test_what_is_no_image_says_so(tmp_path, data, cause):
    (tmp_path / "letter.jpg").write_bytes(data)
    with pytest.raises(DataError, match=cause):
        decode(tmp_path / "letter.jpg", 16, MANY)


def test_scan_finds_images_at_any_depth_and_follows_links_but_not_in_circles(tmp_path):
    for name in [
        "b.jpg",
        "sub/deeper/ünï 写真.PNG",
        "sub/a.webp",
        ".hidden.jpg",
        ".git/c.jpg",
        "notes.txt",
        "clip.gif",
    ]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "link.jpg").symlink_to("b.jpg")
    (tmp_path / "lost.jpg").symlink_to("nowhere.jpg")
    (tmp_path / "sub/back").symlink_to("..", target_is_directory=True)
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")  # opening it would wait for ever
    assert scan(tmp_path, "", SUFFIXES) == ["b.jpg", "link.jpg", "lost.jpg", "sub/a.webp", "sub/deeper/ünï 写真.PNG"]
    assert scan(tmp_path, "sub", SUFFIXES) == ["sub/a.webp", "sub/deeper/ünï 写真.PNG"]


def test_a_png_of_which_one_bit_flipped_is_refused_by_its_checksum_before_anything_is_decoded(tmp_path):
    """torchvision's decoder crashes at most of these."""
    whole = encode(photo(), "PNG")
    path, chance = tmp_path / "flipped.png", np.random.default_rng(0)
    begin = whole.index(b"IDAT") + 4
    for place in chance.integers(8 * begin, 8 * (len(whole) - 16), 50).tolist():
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="damaged: the checksum of its IDAT chunk is wrong"):
            decode(path, 32, MANY)


def test_a_png_whose_remarks_alone_were_changed_or_that_more_was_written_to_is_shown(tmp_path):
    """Chunks with a small first letter are none that a decoder needs; what follows the last chunk is none."""
    whole = encode(photo(), "PNG")
    remark = bytearray(struct.pack(">I", 5) + b"tEXt" + b"a\0bcd" + zlib.crc32(b"tEXta\0bcd").to_bytes(4))
    remark[-1] ^= 1
    (tmp_path / "remark.png").write_bytes(whole[:-12] + remark + whole[-12:])
    (tmp_path / "more.png").write_bytes(whole + b"\0\0\0\4MORE and no checksum")
    for name in ("remark.png", "more.png"):
        assert np.abs(decode(tmp_path / name, 32, MANY).astype(int) - reference(whole, 32)).max() <= 1
