"""OpenClip: a model of open_clip that a file fills; only where that library is installed."""

import json

import pytest
import torch
from captions import captioned

pytest.importorskip("open_clip")

from pretext.backbones.open_clip import OpenClip

TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 16, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture
def name(tmp_path):
    file = tmp_path / "tiny-for-tests.json"
    file.write_text(json.dumps(TINY))
    return str(file)


def test_a_file_of_random_weights_comes_back(name, tmp_path, caplog):
    torch.manual_seed(0)
    one = OpenClip(name).eval()
    torch.save(one.net.state_dict(), tmp_path / "weights.pt")
    two, x = OpenClip(name, str(tmp_path / "weights.pt")).eval(), captioned(3)
    with torch.no_grad():
        first, second = one.encoders()(x).stages, two.encoders()(x).stages
    for stage in ("rgb", "text"):
        assert first[stage].shape == (3, 16)
        assert torch.equal(first[stage], second[stage])
    assert not torch.equal(OpenClip(name).eval().encoders()(x).stages["rgb"], first["rgb"])
    assert not caplog.records  # open_clip warns of random weights, while a file is still to be read


def test_pictures_and_texts_are_what_open_clip_makes_of_them(name):
    import open_clip

    torch.manual_seed(0)
    net, x = OpenClip(name).eval(), captioned(2, side=16)
    with torch.no_grad():
        seen = net(x)
        mean, std = (torch.tensor(part).view(3, 1, 1) for part in (net.net.visual.image_mean, net.net.visual.image_std))
        assert torch.equal(seen["rgb"].pooled, net.net.encode_image((x["rgb"] - mean) / std))
        said = open_clip.tokenize(["bright red"], context_length=16)
        from pretext.ops.words import as_bytes

        read = net({"text": as_bytes(["bright red"]).float() / 255})["text"].pooled
        assert torch.equal(read, net.net.encode_text(said))


def test_unknown_models_and_files_of_others_are_refused(name, tmp_path):
    with pytest.raises(ValueError, match="no model 'ViT-Z'"):
        OpenClip("ViT-Z")
    torch.save({"weight": torch.ones(2)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="is no file of tiny-for-tests"):
        OpenClip(name, str(tmp_path / "other.pt"))
