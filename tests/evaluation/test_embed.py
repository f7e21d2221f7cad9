import signal
import time
from pathlib import Path

import pytest
import torch
from clips import TinySound, TinyVideo
from forked import call, ended
from nets import TinyNet
from sklearn.datasets import load_digits
from torch.nn.functional import avg_pool2d

from pretext.evaluation.baselines import Pixels, raw_input
from pretext.evaluation.cache import MARKER
from pretext.evaluation.embed import DIMS, Cache, coarse, embed


def batches(count=100, size=32):
    """Digits as uint8 RGB canvases of 8 px, in batches."""
    images, labels = load_digits(return_X_y=True)
    x = torch.from_numpy(images).view(-1, 1, 8, 8).mul(255 / 16).round().to(torch.uint8).expand(-1, 3, -1, -1)
    y = torch.from_numpy(labels)
    index = torch.arange(count)
    return [{"x": x[i], "y": y[i], "index": i} for i in index.split(size)]


def view(x):
    return x.float() / 255


def net(seed=0):
    """A net in training mode whose batch norm has seen data, with one frozen part."""
    torch.manual_seed(seed)
    backbone = TinyNet()
    backbone(torch.rand(64, 3, 8, 8))
    backbone.conv1.eval()
    return backbone


def passes(backbone):
    """Count forward passes with a real hook."""
    seen = []
    backbone.register_forward_hook(lambda *_: seen.append(1))
    return seen


def same(one, other):
    return all(torch.equal(one.mean[stage], other.mean[stage]) for stage in one.mean) and all(
        torch.equal(one.grid[stage], other.grid[stage]) for stage in one.grid
    )


def test_features_are_the_backbones_in_eval_mode():
    backbone = net()
    embedded = embed(backbone, batches(), view)
    x = torch.cat([batch["x"] for batch in batches()])
    with torch.no_grad():
        stages = backbone.eval()(view(x)).stages
    assert list(embedded.mean) == list(embedded.grid) == ["conv1", "conv2"]
    for stage, values in stages.items():  # 4 x 4 and 2 x 2: small enough to keep every cell
        assert torch.allclose(embedded.mean[stage].float(), values.mean((2, 3)), rtol=1e-3, atol=1e-5)
        assert torch.allclose(embedded.grid[stage].float(), values.flatten(1), rtol=1e-3, atol=1e-5)
    assert torch.equal(embedded.labels, torch.cat([batch["y"] for batch in batches()]))


def test_the_backbone_is_left_as_it_was_byte_for_byte():
    backbone = net()
    state = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    modes = [module.training for module in backbone.modules()]
    chance = torch.get_rng_state()
    embed(backbone, batches(), view)
    assert [module.training for module in backbone.modules()] == modes
    assert len(set(modes)) == 2
    assert all(torch.equal(state[name], tensor) for name, tensor in backbone.state_dict().items())
    assert torch.equal(torch.get_rng_state(), chance)
    with pytest.raises(ValueError, match="no images"):
        embed(backbone, [], view)
    assert [module.training for module in backbone.modules()] == modes


@pytest.mark.parametrize(
    ("shape", "cells"),
    [
        ((64, 32, 32), 5 * 5),  # 64 x 25 = 1600, and 64 x 36 would be 2304
        ((512, 4, 4), 2 * 2),
        ((96, 4, 4), 4 * 4),  # never finer than the stage itself
        ((4096, 7, 7), 1),  # never less than one cell
        ((128, 2, 30), 2 * 8),  # 128 x 2 x 8 = 2048
        ((64, 100), 32),  # sound
        ((16, 4, 14, 14), 4 * 5 * 5),  # a clip: 16 x 4 x 25 = 1600, and 4 x 36 would be 2304
        ((300,), 1),
    ],
)
def test_a_stage_is_pooled_to_the_finest_grid_that_fits(shape, cells):
    stage = torch.randn(2, *shape)
    pooled = coarse(stage, 2048)
    assert pooled.shape == (2, shape[0] * cells)
    assert pooled.view(2, shape[0], -1).mean(2).shape == (2, shape[0])


@pytest.mark.parametrize(
    ("network", "shapes", "dims"),
    [
        (
            "ResNet-50 (Goyal et al. 2019)",
            [(64, 112), (256, 56), (512, 28), (1024, 14), (2048, 7)],
            [9216, 9216, 8192, 9216, 8192],
        ),
        (
            "AlexNet (Zhang et al. 2016)",
            [(96, 55), (256, 27), (384, 13), (384, 13), (256, 13)],
            [9600, 9216, 9600, 9600, 9216],
        ),
        (
            "AlexNet (Gidaris et al. 2018)",
            [(64, 55), (192, 27), (384, 13), (256, 13), (256, 13)],
            [9216, 9408, 9600, 9216, 9216],
        ),
    ],
)
def test_the_published_sizes_of_probed_stages_come_out(network, shapes, dims):
    found = [coarse(torch.zeros(1, channels, side, side), DIMS).shape[1] for channels, side in shapes]
    assert found == dims, network


def test_pooling_averages_equal_cells():
    stage = torch.randn(2, 3, 8, 8)
    assert torch.allclose(coarse(stage, 3 * 4 * 4), avg_pool2d(stage, 2).flatten(1), atol=1e-6)
    assert torch.equal(coarse(stage, 3 * 64), stage.flatten(1))


def test_pixels_are_the_image_itself():
    embedded = embed(Pixels(), batches(), view)
    x = torch.cat([batch["x"] for batch in batches()])
    assert torch.equal((embedded.grid["pixels"].float() * 255).round().to(torch.uint8), x.flatten(1))
    assert embedded.mean["pixels"] is embedded.grid["pixels"]
    assert embed(Pixels(dims=48), batches(), view).grid["pixels"].shape == (100, 48)


def test_batches_without_labels_have_none():
    unlabelled = [{"x": batch["x"], "index": batch["index"]} for batch in batches()]
    embedded = embed(net(), unlabelled, view)
    assert embedded.labels.shape == (0,)
    assert same(embedded, embed(net(), batches(), view))


def test_bfloat16_is_close_and_float32_means_float32_whatever_surrounds_it():
    backbone = net()
    plain, low = embed(backbone, batches(), view), embed(backbone, batches(), view, dtype=torch.bfloat16)
    assert not same(plain, low)
    assert torch.allclose(plain.grid["conv2"].float(), low.grid["conv2"].float(), atol=0.05)
    with torch.autocast("cpu", torch.bfloat16):
        surrounded = embed(backbone, batches(), view)
    assert same(plain, surrounded)


def test_a_network_with_tiny_or_huge_features_keeps_them():
    plain = embed(net(), batches(), view).mean["conv2"].float()
    for factor in (1e-12, 1e12):
        backbone = net()
        backbone.conv2[1].weight.data *= factor
        backbone.conv2[1].bias.data *= factor
        scaled = embed(backbone, batches(), view).mean["conv2"]
        assert torch.allclose(scaled.float() / factor, plain, rtol=1e-3, atol=1e-4)


def test_nan_and_overflow_are_reported_with_the_stage():
    backbone = net()
    backbone.conv2[0].weight.data[0, 0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"stage 'conv2' of TinyNet gives NaN"):
        embed(backbone, batches(), view)
    explodes = iter([1.0] + [1e6] * 10)
    with pytest.raises(ValueError, match=r"stage 'conv1' of TinyNet gives 7.4e\+05, but the first batch had at most"):
        embed(net(), batches(), lambda x: view(x) * next(explodes))


def test_a_second_call_reads_the_same_from_disk_without_looking(tmp_path):
    cache, backbone = Cache(tmp_path, "digits", "whole"), net()
    first = embed(backbone, batches(), view, cache=cache)
    seen = passes(backbone)
    second = embed(backbone, iter(()), view, cache=cache)  # nothing to look at
    assert seen == []
    assert same(first, second)
    assert same(first, embed(net(), batches(), view))
    assert torch.equal(first.labels, second.labels)


def test_what_features_depend_on_is_in_the_key(tmp_path):
    cache, folders = Cache(tmp_path, "digits", "whole"), 0

    def folders_after(backbone, cache=cache, **options):
        embed(backbone, batches(), view, cache=cache, **options)
        return len(list(tmp_path.glob(f"*/{MARKER}")))

    weights, buffers, setting = net(), net(), net()
    weights.conv2[0].weight.data[0, 0, 0, 0] += 1e-6
    buffers.conv1[1].running_mean[0] += 1e-6
    setting.conv2[0].stride = (1, 1)  # the same tensors, another network
    for backbone in (net(), weights, buffers, setting):
        folders += 1
        assert folders_after(backbone) == folders
        assert folders_after(backbone) == folders
    for other in (cache._replace(data="other"), cache._replace(view="other")):
        folders += 1
        assert folders_after(net(), other) == folders
    for options in ({"dims": 64}, {"dtype": torch.bfloat16}):
        folders += 1
        assert folders_after(net(), **options) == folders
    moved = net().eval().requires_grad_(False)  # what no feature depends on
    assert folders_after(moved) == folders


def get_stuck(folder):
    """Embed some batches into a cache, and then wait for ever."""

    def stuck():
        yield from batches()[:2]
        print("stuck")
        time.sleep(600)

    embed(net(), stuck(), view, cache=Cache(Path(folder), "digits", "whole"))


def test_what_a_killed_process_leaves_is_not_used(tmp_path):
    log, deadline = tmp_path / "log", time.monotonic() + 60
    process = call(log, get_stuck, str(tmp_path))  # whose hashes have another seed
    while not log.exists() or "stuck" not in log.read_text():
        assert process.is_alive(), log.read_text()
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    process.kill()
    assert ended(process) == -signal.SIGKILL
    (left,) = (path for path in tmp_path.iterdir() if path.is_dir())
    assert list(left.glob("*.npy"))
    assert not (left / MARKER).exists()

    cache, backbone = Cache(tmp_path, "digits", "whole"), net()
    seen = passes(backbone)
    embedded = embed(backbone, batches(), view, cache=cache)
    assert len(seen) == len(batches())
    assert same(embedded, embed(net(), batches(), view))
    assert (left / MARKER).exists()  # the very folder: another process finds the same key


class TestItemsOfSeveralRows:
    """Clips of a video share its index, an image backbone sees a clip as its frames: features are averaged by item."""

    @staticmethod
    def clips():
        """Five videos of three clips of four frames each, in batches of two videos."""
        x = torch.randint(0, 256, (15, 3, 4, 8, 8), generator=torch.Generator().manual_seed(1)).byte()
        y, index = torch.arange(5).repeat_interleave(3), torch.tensor([7, 7, 7, 2, 2, 2, 9, 9, 9, 0, 0, 0, 4, 4, 4])
        return x, [
            {"x": x[rows], "y": y[rows], "index": index[rows]} for rows in (slice(0, 6), slice(6, 12), slice(12, 15))
        ]

    def test_clips_of_a_video_are_averaged_and_labelled_once(self):
        backbone = TinyVideo()
        x, loaded = self.clips()
        embedded = embed(backbone, loaded, view)
        with torch.no_grad():
            stages = backbone.eval()(view(x)).stages
        assert embedded.labels.tolist() == [0, 1, 2, 3, 4]
        for stage, values in stages.items():
            mean = values.mean((2, 3, 4)).view(5, 3, -1).mean(1)
            torch.testing.assert_close(embedded.mean[stage].float(), mean, rtol=2e-3, atol=1e-4)
            grid = values.flatten(1).view(5, 3, -1).mean(1)
            torch.testing.assert_close(embedded.grid[stage].float(), grid, rtol=2e-3, atol=1e-3)

    def test_an_image_backbone_sees_all_frames_of_all_clips(self):
        backbone = net()
        x, loaded = self.clips()
        embedded = embed(backbone, loaded, lambda x: view(x).transpose(1, 2).flatten(0, 1))
        with torch.no_grad():
            frames = backbone.eval()(view(x).transpose(1, 2).flatten(0, 1)).stages["conv2"].mean((2, 3))
        mean = frames.view(5, 12, -1).mean(1)
        torch.testing.assert_close(embedded.mean["conv2"].float(), mean, rtol=2e-3, atol=1e-4)

    def test_one_modality_of_several_is_looked_at(self):
        _, loaded = self.clips()
        several = [batch | {"x": {"rgb": batch["x"], "audio": torch.zeros(len(batch["y"]), 1, 9)}} for batch in loaded]
        backbone = TinyVideo()
        assert same(embed(backbone, loaded, view), embed(backbone, several, lambda x: view(x["rgb"])))

    def test_the_raw_input_of_a_sound_is_its_log_mel_picture(self):
        torch.manual_seed(0)
        tone = torch.sin(0.1 * torch.arange(8000)).repeat(4, 1, 1) * torch.tensor([1, 1, 0.1, 0.1]).view(-1, 1, 1)
        raw = embed(raw_input(TinySound()), [{"x": tone, "index": torch.arange(4)}], lambda x: x)
        assert list(raw.mean) == ["log-mel"]
        loud, quiet = raw.mean["log-mel"][:2].float(), raw.mean["log-mel"][2:].float()
        assert torch.equal(loud[0], loud[1])
        assert (loud.mean() - quiet.mean()).abs() > 0.1
