"""How training is run changes its speed, not what is learnt: compiled parts, recorded kernels, fused optimisers."""

import copy
import gc
import weakref

import pytest
import pytorch_lightning as pl
import torch
from nets import TinyNet
from tolerance import rounding
from torch import nn
from torch.func import functional_call

from pretext import Augment, Colorization, Contrast, Pretrainer, Rotation
from pretext.core.rng import rng
from pretext.training import recording
from pretext.training.execution import Execution
from pretext.training.optimization import LearningRates, Optim, fuse
from pretext.training.recording import Recorded, aliased, apart, differentiated, ways


class Batches:
    x = (torch.rand(8, 3, 28, 28, generator=rng("cpu", "execution")) * 255).byte()

    def __len__(self):
        return 4

    def __iter__(self):
        return iter([{"x": self.x, "index": torch.arange(8)}] * 4)


def trained(execution, accelerator="cpu", steps=3, norm=False, **options):
    torch.manual_seed(0)
    tasks = {"turn": Rotation, "views": Contrast, "colour": Colorization}
    optim = Optim(lambda groups: torch.optim.SGD(groups, lr=0.01, momentum=0.9))
    module = Pretrainer(TinyNet(norm=norm), tasks, augment=Augment(crop=24), execution=execution, optim=optim)
    trainer = pl.Trainer(
        **options, max_steps=steps, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        limit_val_batches=0, enable_model_summary=False, accelerator=accelerator, devices=1, log_every_n_steps=1,
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


on_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA")


@pytest.mark.cuda
@on_cuda
def test_compiled_and_recorded_kernels_train_the_same_on_a_device():
    torch._dynamo.reset()
    compiled = trained(Execution(compile="step", cuda_graphs=True), "cuda", steps=6)
    assert_alike(compiled, trained(Execution(), "cuda", steps=6))


@pytest.mark.cuda
@on_cuda
@pytest.mark.parametrize("options", [{}, {"accumulate_grad_batches": 2}, {"gradient_clip_val": 0.1}], ids=str)
@pytest.mark.parametrize("norm", [False, True])
def test_recorded_kernels_train_the_same(norm, options):
    """Each of three tasks looks at a shape of its own; where gradients are accumulated, twice a step."""
    count = Count()
    recorded = trained(Execution(cuda_graphs=True), "cuda", 6, norm, callbacks=[count], **options)
    assert count.recordings == 3 * options.get("accumulate_grad_batches", 1)
    assert recorded[0]._recorded is None  # its memory is free
    assert_alike(recorded, trained(Execution(), "cuda", 6, norm, **options))


class Count(pl.Callback):
    """Counts what a module has recorded when its training ends."""

    def on_train_end(self, trainer, module):
        self.recordings = len(module._recorded.recordings)


def gradients(see, network, loss, x, **autocast):
    network.zero_grad()
    with torch.autocast("cuda", torch.bfloat16, enabled=bool(autocast)):
        value = loss(see(x))
    value.backward()
    return {name: None if p.grad is None else p.grad.clone() for name, p in network.named_parameters()}


@pytest.mark.cuda
@on_cuda
class TestRecordedNetwork:
    x = torch.rand(6, 3, 24, 24, generator=rng("cpu", "recorded"))

    def recorded(self, **options):
        network = TinyNet(**options).cuda()
        recorded = Recorded(network)
        recorded.begin(0)
        return network, recorded, self.x.cuda()

    @pytest.mark.parametrize("autocast", [{}, {"bfloat16": True}], ids=["float32", "bfloat16"])
    def test_each_step_has_its_own_gradients(self, autocast):
        """Losses ask for the last stage, for all, for the first: what none asks for has no gradient, as without."""
        network, recorded, x = self.recorded()
        losses = [
            lambda seen: seen.pooled.square().sum(),
            lambda seen: sum(stage.sum() for stage in seen.stages.values()),
            lambda seen: seen.stages["conv1"].square().sum(),
            lambda seen: seen.pooled.sum(),
        ]
        for step, loss in enumerate(losses):
            recorded.begin(step)
            ours = gradients(recorded, network, loss, x, **autocast)
            torch.testing.assert_close(ours, gradients(network, network, loss, x, **autocast))
        assert ours["conv2.0.weight"] is not None
        assert gradients(recorded, network, losses[2], x)["conv2.0.weight"] is None
        assert len(recorded.recordings) == 1 + bool(autocast)

    def test_looks_of_one_step_do_not_write_over_each_other(self):
        network, recorded, x = self.recorded()
        both = lambda see: lambda x: (see(x).pooled, see(x.flip(-1)).pooled)  # noqa: E731
        loss = lambda pair: (pair[0] * pair[1]).sum()  # noqa: E731
        for step in range(2):
            recorded.begin(step)
            ours = gradients(both(recorded), network, loss, x)
            torch.testing.assert_close(ours, gradients(both(network), network, loss, x))
        assert len(recorded.recordings) == 2

    def test_gradients_that_are_kept_are_added_to(self):
        network, recorded, x = self.recorded(norm=False)
        for step in range(2):  # nobody clears them
            recorded.begin(step)
            recorded(x).pooled.sum().backward()
        twice = network.conv1[0].weight.grad.clone()
        once = gradients(network, network, lambda seen: seen.pooled.sum(), x)["conv1.0.weight"]
        torch.testing.assert_close(twice, 2 * once)

    def test_a_second_backward_pass_is_refused(self):
        _, recorded, x = self.recorded()
        loss = recorded(x).pooled.sum()
        loss.backward(retain_graph=True)
        with pytest.raises(RuntimeError, match="recorded kernels have one backward pass a look"):
            loss.backward()

    def test_recording_leaves_no_trace(self):
        network, recorded, x = self.recorded()
        before = copy.deepcopy(network)
        chance = torch.cuda.get_rng_state()
        recorded(x)
        assert torch.equal(torch.cuda.get_rng_state(), chance)
        before(x)  # one pass, as the one that was replayed
        for name, value in before.state_dict().items():
            torch.testing.assert_close(network.state_dict()[name], value)

    def test_dropout_drops_the_same(self):
        network, recorded, x = self.recorded(dropout=0.5, norm=False)
        for step in range(3):
            recorded.begin(step)
            torch.cuda.manual_seed(step)
            ours = recorded(x).pooled
            torch.cuda.manual_seed(step)
            torch.testing.assert_close(ours, network(x).pooled)

    def test_a_network_that_is_thawed_is_recorded_anew(self):
        network, recorded, x = self.recorded()
        network.conv1.requires_grad_(False)
        assert gradients(recorded, network, lambda seen: seen.pooled.sum(), x)["conv1.0.weight"] is None
        recorded.begin(1)
        network.conv1.requires_grad_(True)
        assert gradients(recorded, network, lambda seen: seen.pooled.sum(), x)["conv1.0.weight"].any()

    def test_a_copy_learns_for_itself(self):
        _, recorded, x = self.recorded()
        recorded(x)
        other = copy.deepcopy(recorded)
        other.begin(0)
        with torch.no_grad():
            other.network.conv1[0].weight.zero_()
        assert not torch.equal(other(x).pooled, recorded(x).pooled)

    def test_evaluation_is_not_recorded(self):
        network, recorded, x = self.recorded()
        with torch.no_grad():
            recorded(x)
        network.eval()
        recorded(x)
        assert not recorded.recordings

    def test_a_network_that_waits_for_a_number_runs_as_it_is(self):
        """Or, before torch recovers from a recording that broke off, is refused with what to do."""

        class Asks(TinyNet):
            def forward(self, x):
                return super().forward(x * x.max().item())

        network, x = Asks(dropout=0.5).cuda(), self.x.cuda()
        recorded, stream = Recorded(network), torch.cuda.current_stream()
        recorded.begin(0)
        try:
            with pytest.warns(UserWarning, match="cuda_graphs cannot record Asks.*It runs as it is"):
                recorded(x)
        except RuntimeError as error:
            assert "set model.execution.cuda_graphs false" in str(error)  # noqa: PT017  (either of the two)
            return
        recorded(x)  # without another word
        assert torch.cuda.current_stream() == stream
        assert not recorded.recordings


class TestWhatIsRecorded:
    """The passes themselves, on a CPU: new leaves on the same memory, and what autograd finds for the old ones."""

    def test_it_has_the_gradients_of_the_parameters(self):
        network = TinyNet()
        network.conv1[0].weight.requires_grad_(False)
        x = torch.rand(4, 3, 16, 16, requires_grad=True)
        aliases = aliased(network)
        assert all(aliases[n].data_ptr() == p.data_ptr() for n, p in network.named_parameters() if p.requires_grad)
        seen = functional_call(network, aliases, (x,))
        outputs = [*seen.stages.values(), seen.pooled, torch.zeros(1)]  # one without a gradient
        grads = [torch.rand_like(out) for out in outputs]
        found = differentiated(outputs, grads, [x, *aliases.values()])
        assert all(p.grad is None for p in network.parameters())
        reference = copy.deepcopy(network)
        again = reference(leaf := x.detach().requires_grad_())
        torch.autograd.backward([*again.stages.values(), again.pooled], grads[:-1])
        expected = [leaf.grad, *(p.grad for p in reference.parameters() if p.requires_grad)]
        torch.testing.assert_close(found, expected)
        assert differentiated([torch.zeros(1)], [torch.ones(1)], [x]) == [None]

    def test_it_knows_which_output_reaches_which_parameter(self):
        network = TinyNet(norm=False)
        aliases = aliased(network)
        seen = functional_call(network, aliases, (torch.rand(4, 3, 16, 16),))
        assert list(aliases) == ["conv1.0.weight", "conv1.0.bias", "conv2.0.weight", "conv2.0.bias"]
        found = ways([seen.stages["conv1"], seen.pooled, torch.zeros(1)], list(aliases.values()))
        assert found == [[True, True, False, False], [True] * 4, [False] * 4]

    def test_two_parameters_never_share_a_gradient(self):
        a, b, c = (torch.ones(3, requires_grad=True) for _ in "abc")
        shared = differentiated([(a + b) * 2], [torch.ones(3)], [a, b, c])
        assert shared[2] is None
        one, other, _ = apart(shared)
        assert one.data_ptr() != other.data_ptr()
        torch.testing.assert_close([one, other], [torch.full((3,), 2.0)] * 2)


@pytest.fixture
def no_collection():
    """Only what nothing refers to any more goes, as on a device between two steps."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_what_was_half_recorded_is_gone_before_the_network_runs_as_it_is(monkeypatch, no_collection):
    """After an error of memory its memory is what the plain pass needs."""
    half, held = [], []

    class Breaks(recording.Recording):
        def __init__(self, network, x):
            self.memory = torch.ones(3)
            half.append(weakref.ref(self))
            raise RuntimeError("CUDA out of memory\nand more")

    monkeypatch.setattr(recording, "Recording", Breaks)
    monkeypatch.setattr(recording, "_recover", lambda why: held.append(half[0]()))  # which asks a device
    recorded = Recorded(TinyNet())
    with pytest.warns(UserWarning, match=r"cannot record TinyNet: CUDA out of memory\. It runs as it is"):
        assert not recorded._record("key", torch.zeros(2, 3, 24, 24))
    assert held == [None]
    assert recorded.refused


def test_a_recording_goes_with_the_last_that_knows_it(no_collection):
    made = object.__new__(recording.Recording)
    made._ways, made._found, made._reached = [[True, False], [True, True]], [None, None], {}
    assert made.reached((True, False)) == [True, False]
    assert made.reached((True, True)) == made.reached((True, True)) == [True, True]
    gone = weakref.ref(made)
    del made
    assert gone() is None


def test_without_cuda_nothing_is_recorded():
    module, losses = trained(Execution(cuda_graphs=True), norm=True)
    plain, expected = trained(Execution(), norm=True)
    assert losses == expected
    for name, value in plain.state_dict().items():
        assert torch.equal(module.state_dict()[name], value)
    recorded = Recorded(module.backbone)
    recorded.begin(0)
    recorded(torch.zeros(2, 3, 24, 24))
    assert not recorded.recordings


def test_what_cannot_be_is_refused():
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
