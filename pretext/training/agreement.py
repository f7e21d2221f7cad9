"""One number that all ranks know at the same point of training, without a word to the device."""

from __future__ import annotations

import torch
from torch import distributed


class Agreement:
    """Rounds in which every rank says a number, and the largest is what all ranks hear, one round later.

    A round is an all-reduce of 8 bytes between the hosts (gloo), which runs beside the step. Nobody waits for the round
    that he has just begun, but for the one before, which is over by then. So what is heard in a round is the same on
    all ranks, however far one host is ahead of its device or of the others, and no device is waited for.

    All ranks must build it, and take part in as many rounds as the others.
    """

    def __init__(self) -> None:
        group = distributed.new_group(backend="gloo")
        assert isinstance(group, distributed.ProcessGroup)  # of all ranks, so nobody is outside it
        self._group = group
        self._round: tuple[distributed.Work, torch.Tensor] | None = None

    def heard(self, said: int) -> int:
        """Begin a round; return the largest number that was said in the round before, 0 in the first one."""
        before = self.close()
        number = torch.tensor(said, device="cpu")
        work = distributed.all_reduce(number, distributed.ReduceOp.MAX, self._group, async_op=True)
        assert work is not None  # as above
        self._round = (work, number)
        return before

    def least(self, said: int) -> int:
        """Return the smallest number that a rank says, at once: a round of its own, which waits for all ranks."""
        number = torch.tensor(said, device="cpu")
        distributed.all_reduce(number, distributed.ReduceOp.MIN, self._group)
        return int(number)

    def close(self) -> int:
        """Finish the round that runs, and return what is heard in it."""
        if self._round is None:
            return 0
        work, number = self._round
        work.wait()
        self._round = None
        return int(number)
