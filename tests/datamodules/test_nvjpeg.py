"""What a CUDA device decodes and what it leaves to the processor."""

import numpy as np
import pytest
import torch
from conftest import picture
from PIL import Image

from datamodules import DataError, Photos, Reading, Splitting
from datamodules.images.canvases import Decoding
from datamodules.images.decode import decode
from datamodules.images.nvjpeg import canvas_of, plain_jpeg


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


@pytest.mark.parametrize("whole", [False, True])
def test_the_device_resizes_as_the_processor_does(photos, whole):
    pixels = torch.from_numpy(np.asarray(Image.open(photos / "0.jpg")).copy()).permute(2, 0, 1)
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(photos / "same.png")
    ours = canvas_of(pixels, Decoding(20, whole=whole)).int()
    assert (ours - torch.from_numpy(decode(photos / "same.png", 20, 10**6, whole)).int()).abs().max() <= 1


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
