"""Model-agnostic meta-learning (https://arxiv.org/abs/1703.03400): weights from which a few steps learn a task.

The outer gradient goes through the steps (second order), or takes their gradients for constants (first order). With
`informed`, task-informed MAML (https://arxiv.org/abs/2202.02124), what is known of a task scales and shifts each layer.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor, nn
from torch.func import grad, vmap

from pretext.core.errors import require
from pretext.training.meta.informed import Informed
from pretext.training.meta.learner import Answers, Episodes, Learner, Loss, Named, Network, Spec
from pretext.training.optimization import OptimizerFactory


@final
class MAML(Learner):
    """Learn by a few steps of gradient descent on the examples, from weights that are trained for that.

    Args:
        steps: of gradient descent in training.
        rate: of these steps.
        test_steps: steps in validation and test; none: as many as in training.
        first_order: take the gradients of the steps for constants: cheaper, and no longer the outer loss's gradient.
        learned_rates: train a rate for each layer, which begins at `rate`.
        vectorize: all episodes of a batch at once, by vmap; else one after the other, which is the same.
        informed: what makes scales and shifts of metadata; none: plain MAML.

    Raises:
        ValueError: 0 steps, or a negative rate.

    """

    rates: Tensor

    def __init__(
        self,
        steps: int = 5,
        rate: float = 0.01,
        test_steps: int | None = None,
        first_order: bool = False,
        learned_rates: bool = False,
        vectorize: bool = True,
        informed: Informed | None = None,
    ) -> None:
        super().__init__()
        few = steps < 1 or (test_steps is not None and test_steps < 1)
        require(not few, self, f"{steps=}, {test_steps=}", "a rate needs steps: give 1 or more")
        require(rate >= 0, self, f"{rate=}", "give 0 or more")
        self.steps, self.rate, self.test_steps, self.first_order = steps, rate, test_steps, first_order
        self.learned_rates, self.vectorize, self.informed = learned_rates, vectorize, informed
        self.head: nn.Module = nn.Identity()
        self.layers: list[str] = []

    def begin(self, backbone: nn.Module, spec: Spec) -> None:
        self.head = nn.Linear(spec.dim, spec.outputs)
        trained = [name for name, parameter in backbone.named_parameters() if parameter.requires_grad]
        self.layers = list(dict.fromkeys(f"backbone.{name}".rpartition(".")[0] for name in trained))
        self.layers.append("learner.head")
        if self.learned_rates:
            self.rates = nn.Parameter(torch.full((len(self.layers),), self.rate))
        if self.informed is not None:
            self.informed.begin(backbone, spec.facts)

    def answer(self, network: Network, episodes: Episodes, loss: Loss) -> Answers:
        steps = self.steps if self.training or self.test_steps is None else self.test_steps
        changes: Named = {} if self.informed is None else self.informed(episodes.metadata)

        def one(support: Tensor, support_y: Tensor, query: Tensor, change: Named) -> tuple[Tensor, Tensor]:
            learnt = self._adapted(network, support, support_y, change, loss, steps)
            with torch.no_grad():
                before = network.call({**network.parameters, **change}, query)
            return network.call({**learnt, **change}, query), before

        parts = (episodes.support, episodes.support_y, episodes.query)
        if self.vectorize:
            with warnings.catch_warnings():  # torch 2.14 looks at one sound after the other there, and is right
                warnings.filterwarnings("ignore", "There is a performance drop .* aten::stft", UserWarning)
                return Answers(*vmap(one, in_dims=(0, 0, 0, 0), randomness="different")(*parts, changes))
        each = [
            one(*rows, {name: change[b] for name, change in changes.items()})
            for b, rows in enumerate(zip(*parts, strict=True))
        ]
        after, before = (torch.stack(answers) for answers in zip(*each, strict=True))
        return Answers(after, before)

    def own_optimizer(self) -> OptimizerFactory | None:
        return None if self.informed is None else self.informed.optimizer

    def apart(self) -> list[nn.Parameter]:
        return [] if self.informed is None else list(self.informed.parameters())

    def describe(self) -> str:
        name = "task-informed MAML" if self.informed is not None else "MAML"
        return f"first-order {name}" if self.first_order else name

    def _adapted(
        self, network: Network, x: Tensor, y: Tensor, change: Named, loss: Loss, steps: int
    ) -> Mapping[str, Tensor]:
        """Take the steps of one episode: the parameters after them."""

        def cost(parameters: Named) -> Tensor:
            return loss(network.call({**parameters, **change}, x), y)

        parameters, rates = dict(network.parameters), self._rates(network.parameters)
        for _ in range(steps):
            start = {name: p.detach() for name, p in parameters.items()} if self.first_order else parameters
            slopes = grad(cost)(start)
            if self.first_order:  # metadata would reach the outer loss through them
                slopes = {name: slope.detach() for name, slope in slopes.items()}
            parameters = {name: p - rates[name] * slopes[name] for name, p in parameters.items()}
        return parameters

    def _rates(self, parameters: Named) -> Mapping[str, Tensor | float]:
        if not self.learned_rates:
            return dict.fromkeys(parameters, self.rate)
        places = {layer: place for place, layer in enumerate(self.layers)}
        return {name: self.rates[places[name.rpartition(".")[0]]] for name in parameters}
