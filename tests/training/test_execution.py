"""How training is run changes its speed, not what is learnt: compiled parts, recorded kernels, fused optimisers."""

import copy

import pytest
import pytorch_lightning as pl
import torch
from nets import TinyNet
from tolerance import rounding
from torch import nn

from pretext import Augment, Colorization, Contrast, Pretrainer, Rotation
from pretext.core.rng import rng
from pretext.training.execution import Execution
from pretext.training.optimization import LearningRates, Optim, fuse


class Batches:
    x = (torch.rand(8, 3, 28, 28, generator=rng("cpu", "execution")) * 255).byte()

    def __len__(self):
        return 4

    def __iter__(self):
        return iter([{"x": self.x, "index": torch.arange(8)}] * 4)


def trained(execution, accelerator="cpu", steps=3):
    torch.manual_seed(0)
    tasks = {"turn": Rotation, "views": Contrast, "colour": Colorization}
    optim = Optim(lambda groups: torch.optim.SGD(groups, lr=0.01, momentum=0.9))
    module = Pretrainer(TinyNet(norm=False), tasks, augment=Augment(crop=24), execution=execution, optim=optim)
    trainer = pl.Trainer(
        max_steps=steps, logger=False, enable_checkpointing=False, enable_progress_bar=False, limit_val_batches=0,
        enable_model_summary=False, accelerator=accelerator, devices=1, log_every_n_steps=1,
    )  # fmt: skip
    trainer.fit(module, Batches(), Batches())
    return module.cpu(), {name: float(value) for name, value in trainer.callback_metrics.items()}


def assert_alike(one, other):
    """Three steps of a two-layer net on 8 x 4 pictures of 24 px: sums of 5,000 terms, four in a row."""
    (module, losses), (reference, expected) = one, other
    assert list(module.state_dict()) == list(reference.state_dict())
    for name, value in reference.state_dict().items():
        room = rounding(max(1.0, float(value.abs().max())), 20_000)
        torch.testing.assert_close(module.state_dict()[name], value, rtol=0, atol=room)
    assert losses == pytest.approx(expected, abs=1e-3)


# torch 2.14's compiler itself looks at the gradients of what is handed from part to part.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.slow  # the compiler alone takes minutes
@pytest.mark.parametrize("cuda_graphs", [False, True])
def test_a_compiled_step_trains_the_same_under_the_same_names(cuda_graphs, tmp_path, monkeypatch):
    torch._dynamo.reset()  # what other tests compiled counts towards its limit
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # other processes fill the shared one
    compiled = trained(Execution(compile="step", cuda_graphs=cuda_graphs))
    assert compiled[0]._parts  # there is something compiled
    assert_alike(compiled, trained(Execution()))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA")
def test_recorded_kernels_train_the_same_on_a_device():
    torch._dynamo.reset()
    compiled = trained(Execution(compile="step", cuda_graphs=True), "cuda", steps=6)
    assert_alike(compiled, trained(Execution(), "cuda", steps=6))


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"Execution: cuda_graphs records compiled code.*set compile"):
        Execution(cuda_graphs=True)
    with pytest.raises(ValueError, match=r"Execution: compile='all'; choose"):
        Execution(compile="all")


def test_only_a_compiled_step_has_compiled_parts():
    for compile_, parts in ((False, False), (True, False), ("backbone", False), ("step", True)):
        module = Pretrainer(TinyNet(), {"turn": Rotation}, execution=Execution(compile=compile_))
        module.setup("fit")
        assert bool(module._parts) == parts
        assert (module.backbone._compiled_call_impl is not None) == bool(compile_)


def optimised(kind, device, **options):
    """Five steps of an optimiser on a quadratic, fused on that kind of device."""
    weights = nn.Parameter(torch.linspace(-1, 1, 50))
    optimizer = kind([weights], lr=0.1, **options)
    fuse(optimizer, device)
    for step in range(5):
        weights.grad = 2 * (weights.detach() - step)
        optimizer.step()
    return weights.detach(), optimizer


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (torch.optim.SGD, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
        (torch.optim.Adam, {}),
        (torch.optim.AdamW, {"weight_decay": 0.1}),
    ],
)
def test_a_fused_optimiser_differs_by_rounding_alone(kind, options):
    fused, optimizer = optimised(kind, "cpu", **options)
    plain, other = optimised(kind, "cuda", **options)  # of another kind: left as it is
    assert optimizer.param_groups[0]["fused"]
    assert not other.param_groups[0]["fused"]
    torch.testing.assert_close(fused, plain, rtol=0, atol=rounding(10, 5 * 12))


def test_who_has_decided_is_left_alone():
    class Own(torch.optim.SGD):
        pass

    for kind, options in ((torch.optim.SGD, {"foreach": False}), (torch.optim.AdamW, {"fused": False}), (Own, {})):
        _, optimizer = optimised(kind, "cpu", **options)
        assert not optimizer.param_groups[0]["fused"]


def test_a_run_that_was_not_fused_goes_on_fused():
    """Its steps were counted on the CPU, a fused optimiser's lie beside the weights."""
    weights = nn.Parameter(torch.linspace(-1, 1, 50))
    rates = LearningRates(Optim(lambda groups: torch.optim.AdamW(groups, lr=0.1, fused=True)))
    _, plain = optimised(torch.optim.AdamW, "cuda")
    optimizer = rates.optimizer([{"params": [weights]}])
    optimizer.load_state_dict(copy.deepcopy(plain.state_dict()))
    assert not optimizer.param_groups[0]["fused"]  # as the checkpoint says
    rates.begin(optimizer, 10)
    assert optimizer.param_groups[0]["fused"]
    assert optimizer.state[weights]["step"] == 5
    weights.grad = torch.ones(50)
    optimizer.step()
    assert optimizer.state[weights]["step"] == 6
