"""ResNets of free width, depth and kernels: torchvision's, where it has the same shape, and He et al.'s count."""

import pytest
import torch

from pretext import ResNet, TorchVision


def test_four_stages_of_two_blocks_are_torchvisions_resnet18():
    theirs = TorchVision("resnet18", stem="small", width=0.125).eval()
    ours = ResNet((2, 2, 2, 2), 8).eval()
    assert ours.stages == theirs.stages
    ours.net.load_state_dict(theirs.net.state_dict())  # the same names and shapes, none missing
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        for name, stage in ours(x).stages.items():
            assert torch.equal(stage, theirs(x).stages[name]), name


@pytest.mark.parametrize("n", [1, 3])
def test_three_stages_are_he_et_al_s_network_for_cifar(n):
    """6n + 1 convolutions of 3x3 and two projections; batch norm has two numbers a channel."""
    widths = (16, 32, 64)
    expected = 3 * 16 * 9 + 2 * 16
    for before, width in zip((16, *widths), widths, strict=False):
        expected += before * width * 9 + (2 * n - 1) * width * width * 9 + 2 * n * 2 * width
        expected += (before * width + 2 * width) * (before != width)
    net = ResNet((n, n, n))
    assert sum(p.numel() for p in net.parameters()) == expected
    assert [stage.shape[-1] for stage in net(torch.rand(2, 3, 32, 32)).stages.values()] == [32, 32, 16, 8]


@pytest.mark.parametrize("side", [9, 16])
def test_any_odd_kernel_keeps_the_size_of_the_map(side):
    for kernels in ((1,), (3, 5, 1), (7,)):
        stages = ResNet((1, 2, 1), 4, kernels)(torch.rand(2, 3, side, side)).stages
        assert [stage.shape[-1] for stage in stages.values()] == [side, side, -(-side // 2), -(-side // 4)]


@pytest.mark.parametrize(
    "options", [{"blocks": ()}, {"blocks": (1, 0)}, {"width": 0}, {"kernels": (4,)}, {"kernels": (3, 3)}]
)
def test_what_cannot_be_built_is_refused(options):
    with pytest.raises(ValueError, match=r"ResNet: blocks=.*give at least one block a stage"):
        ResNet(**options)
