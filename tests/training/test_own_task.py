"""A task of a user's own that gives the wrong thing is named by its first exam, in one line that says what to do."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from nets import TinyNet
from torch import nn

import pretext
from pretext import Grade, Pretrainer, Puzzle, Task, Wrapped
from pretext.training import exam
from pretext.training.execution import Execution

X = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


class Bright(Task):
    """Is a picture bright? A small task that keeps the contract; its heirs each break a part of it."""

    def __init__(self, backbone):
        super().__init__()
        self.head = nn.Linear(backbone.dim, 1)

    def pose(self, x, rng):
        return Puzzle(x, x.mean((1, 2, 3)))

    def solve(self, features, given):
        return self.head(features.pooled)[:, 0]

    def grade(self, prediction, answer):
        errors = (prediction - answer) ** 2
        return Grade(errors.mean(), {"error": errors.detach().mean()})

    def chance(self):
        return Grade(torch.ones(()), {"error": torch.ones(())})

    def draw(self, puzzle, prediction):
        return []


class PosesATuple(Bright):
    def pose(self, x, rng):
        return tuple(super().pose(x, rng))


class Graded(Bright):
    """Grades by what it is told to make of a loss."""

    made = staticmethod(lambda loss: Grade(loss.mean(), {}))

    def grade(self, prediction, answer):
        return self.made((prediction - answer) ** 2)


class GivesALoss(Graded):
    made = staticmethod(lambda loss: loss.mean())


class LosesEachItem(Graded):
    made = staticmethod(lambda loss: Grade(loss, {}))


class LosesAFloat(Graded):
    made = staticmethod(lambda loss: Grade(loss.mean().item(), {}))


class Counts(Graded):
    made = staticmethod(lambda loss: Grade((loss > 1).sum(), {}))


class ScoresAFloat(Graded):
    made = staticmethod(lambda loss: Grade(loss.mean(), {"error": loss.mean().item()}))


class ScoresEachItem(Graded):
    made = staticmethod(lambda loss: Grade(loss.mean(), {"error": loss.detach()}))


class ListsScores(Graded):
    made = staticmethod(lambda loss: Grade(loss.mean(), [loss.mean()]))


class Detaches(Graded):
    made = staticmethod(lambda loss: Grade(loss.detach().mean(), {}))


class ForgetsTorch(Bright):
    def __init__(self, backbone):
        self.head = nn.Linear(backbone.dim, 1)


class ForgetsTorchWithoutAHead(Bright):
    def __init__(self, backbone):
        self.width = backbone.dim


class AsksInVain(Bright):
    def __init__(self, backbone):
        self.head = nn.Linear(backbone.width, 1)


WRONG = {
    PosesATuple: r"PosesATuple: pose returned a tuple; return pretext.Puzzle\(question, answer\)",
    GivesALoss: r"GivesALoss: grade returned a Tensor; return pretext.Grade\(loss, scores\)",
    LosesEachItem: r"LosesEachItem: the loss of grade is torch.float32 of shape \(4,\); give a floating-point tensor",
    LosesAFloat: "LosesAFloat: the loss of grade is a float; give a floating-point tensor",
    Counts: r"Counts: the loss of grade is torch.int64 of shape \(\); give a floating-point tensor",
    ScoresAFloat: r"ScoresAFloat: the score 'error' of grade is a float; give a tensor of shape \(\)",
    ScoresEachItem: r"the score 'error' of grade is torch.float32 of shape \(4,\); give a tensor of shape \(\)",
    ListsScores: "ListsScores: the scores of grade are a list; give a dict of tensors by name",
}


def module(task=Bright, backbone=None, **options):
    torch.manual_seed(0)
    return Pretrainer(backbone or TinyNet(), {"mine": task}, **options)


def sit(host):
    return host.exam(host.tasks["mine"], X, "key")


@pytest.mark.parametrize("task", WRONG)
def test_what_breaks_the_contract_is_named_in_training_and_evaluation(task):
    host = module(task)
    for grad in (True, False, True):  # also once it was told
        with torch.set_grad_enabled(grad), pytest.raises(ValueError, match=WRONG[task]) as told:
            sit(host)
        assert "pretext.testing.check_task" in str(told.value)
        assert "\n" not in str(told.value)


def test_a_loss_without_gradient_is_refused_where_something_learns():
    host = module(Detaches)
    with torch.no_grad():
        sit(host)  # as a trainer does first, before it trains
    with pytest.raises(ValueError, match="Detaches: the loss of grade carries no gradient; compute it from the pred"):
        sit(host)
    host.backbone.requires_grad_(False)
    with pytest.raises(ValueError, match="Detaches: the loss of grade carries no gradient"):
        sit(host)  # its head learns
    host.tasks["mine"].requires_grad_(False)
    sit(host)


def test_lightnings_trainer_is_told_too():
    loader = torch.utils.data.DataLoader([{"x": x, "index": n} for n, x in enumerate(X)], batch_size=2)
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    trainer = pl.Trainer(max_steps=1, accelerator="cpu", logger=False, **quiet)
    with pytest.raises(ValueError, match="Detaches: the loss of grade carries no gradient"):
        trainer.fit(module(Detaches), loader, loader)


def test_only_the_first_exam_is_looked_at(monkeypatch):
    host, looks = module(), []
    first = exam._first
    monkeypatch.setattr(exam, "_first", lambda *given: looks.append(torch.is_grad_enabled()) or first(*given))
    for grad in (False, True, True, False):
        with torch.set_grad_enabled(grad):
            sit(host)
    assert looks == [False, True]
    sit(module())
    assert looks == [False, True, True]  # another task


# torch 2.14's compiler itself looks at the gradients of what is handed from part to part.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.parametrize("task", [PosesATuple, GivesALoss])
def test_compiled_parts_are_looked_at_from_outside(task, monkeypatch):
    compiler = torch.compile
    monkeypatch.setattr(torch, "compile", lambda part, mode: compiler(part, backend="eager"))
    host = module(task, execution=Execution(compile="step"))
    compiled = host.execution.compiled
    mine = host.tasks["mine"]
    host._parts = {mine: (compiled(mine.pose), compiled(mine.solve), compiled(mine.grade))}
    with pytest.raises(ValueError, match=WRONG[task]):
        sit(host)


def test_a_grade_that_is_no_method_is_looked_at():
    host = module()
    parts = (host.tasks["mine"].pose, host.tasks["mine"].solve, lambda prediction, answer: prediction.mean())
    with pytest.raises(ValueError, match="a task: grade returned a Tensor"):
        exam.examined(host, parts, X)


@pytest.mark.parametrize("task", [ForgetsTorch, ForgetsTorchWithoutAHead])
def test_a_constructor_that_forgets_torchs_own_is_told(task):
    with pytest.raises(ValueError, match=rf"^{task.__name__}: its constructor does without super\(\).__init__\(\); "):
        module(task)
    with pytest.raises(ValueError, match="HeirOf: its constructor does without"):
        type("HeirOf", (task,), {"__init__": lambda self, backbone: task.__init__(self, backbone)})(TinyNet())


def test_another_error_of_a_constructor_stays_as_it_is():
    with pytest.raises(AttributeError, match="has no attribute 'width'"):
        module(AsksInVain)


def layers():
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 8, 3, 2, 1), nn.ReLU())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("wrap", [lambda dtype: TinyNet().to(dtype), lambda d: Wrapped(layers().to(d), image_size=16)])
def test_a_network_of_another_type_than_its_task_is_told_what_to_do(dtype, wrap):
    host = module(backbone=wrap(dtype))
    kind = str(dtype).removeprefix("torch.")
    with pytest.raises(ValueError, match=rf"Bright: .* are .*{kind}.*; keep .* float32, .*precision bf16-mixed"):
        sit(host)
    sit(host.to(dtype))  # as a trainer of that precision does


def test_a_task_that_brings_features_to_its_own_type_is_left_alone():
    class Casts(Bright):
        def solve(self, features, given):
            return super().solve(SimpleNamespace(pooled=features.pooled.float()), given)

    assert sit(module(Casts, TinyNet().double())).loss.dtype == torch.float32


def test_another_error_of_an_exam_stays_as_it_is():
    class Multiplies(Bright):
        def solve(self, features, given):
            return features.pooled @ features.pooled

    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        sit(module(Multiplies, TinyNet().double()))


def test_the_contract_is_reached_by_its_name_and_imported_no_sooner():
    code = "import sys, pretext; print('testing' in dir(pretext), *{'torch', 'pretext.testing'} & set(sys.modules))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["True"]
    assert pretext.__getattr__("testing").check_task is pretext.testing.check_task
