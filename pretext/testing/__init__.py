"""The contract every task keeps, as plain functions that a plug-in's own tests call.

`check_task` runs them all. Each raises an AssertionError that names what is broken; none needs pytest. Give a small
backbone and a small batch: they train a little.

    from pretext.testing import check_task

    def test_my_task():
        check_task(MyTask, backbone, torch.rand(8, 3, 32, 32))

`factory` is what a config would name: the task's class, or a `functools.partial` of it.
"""

from __future__ import annotations

from pretext.core.types import Backbone, TaskFactory, Tree
from pretext.testing.checks import check_alone as check_alone
from pretext.testing.checks import check_chance_law as check_chance_law
from pretext.testing.checks import check_copies as check_copies
from pretext.testing.checks import check_destroyed as check_destroyed
from pretext.testing.checks import check_dtype_and_device as check_dtype_and_device
from pretext.testing.checks import check_gradients as check_gradients
from pretext.testing.checks import check_independence as check_independence
from pretext.testing.checks import check_initial_loss as check_initial_loss
from pretext.testing.checks import check_input_untouched as check_input_untouched
from pretext.testing.checks import check_right_answer as check_right_answer
from pretext.testing.content import Content as Content
from pretext.testing.content import check_content_free as check_content_free
from pretext.testing.ranks import check_ranks as check_ranks


def check_task(
    factory: TaskFactory,
    backbone: Backbone,
    x: Tree,
    *,
    random: bool = True,
    kinds: tuple[Content, ...] = ("noise", "constant"),
) -> None:
    """Check all of the contract on a task made by `factory` for `backbone`, posed from `x`.

    Args:
        factory: makes the task.
        backbone: is copied, never changed.
        x: (N, C, *S) in [0, 1] or a dict of them, float32, N >= 4; real content is best.
        random: whether another key poses another puzzle; False where a pose draws nothing at random: that is checked.
        kinds: the content without information that must teach nothing; leave out what a task may rightly learn from
            (a constant image can be inpainted), or pass ().

    """
    check_input_untouched(factory, backbone, x)  # first: the others trust `x` to stay
    check_chance_law(factory, backbone, x, random=random)
    check_dtype_and_device(factory, backbone, x)
    check_gradients(factory, backbone, x)
    check_independence(factory, backbone)
    check_copies(factory, backbone, x)
    check_alone(factory, backbone, x)
    check_initial_loss(factory, backbone, x)
    check_right_answer(factory, backbone, x)
    check_ranks(factory, backbone, x)
    check_destroyed(factory, backbone, x)
    if kinds:
        check_content_free(factory, backbone, x, kinds=kinds)
