"""Train a few steps so that what is learnt is learnt on every processor."""

import torch


def descend(modules, loss, steps, rate, after=None):
    """Minimise `loss(step)` over all parameters of `modules` by Adam, whose rate falls to nothing.

    At a constant rate the last step is a lottery: Adam jumps now and then, statistics of batch norm lag behind the
    weights, and which step is hit depends on how the processor rounds. At the end of a falling rate nothing moves.

    Args:
        modules: what is trained.
        loss: gives the loss of a step (0, 1 ...).
        steps: how many.
        rate: at the first step.
        after: is called with nothing after each step.

    """
    learnt = [p for module in modules for p in module.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(learnt, lr=rate)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = rate * (1 - step / steps)
        optimiser.zero_grad()
        loss(step).backward()
        optimiser.step()
        if after is not None:
            after()
