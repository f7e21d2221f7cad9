"""https://arxiv.org/abs/1902.03545 (Achille et al.: Task2Vec, ICCV 2019): a task as a vector, and the distance of two.

One network looks at the data of every task. Its head is fitted to the task's labels; how much what it says depends on
each of its filters (the diagonal of the Fisher information, averaged over a filter) is the task's embedding.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from sklearn.linear_model import LogisticRegression
from torch import Generator, Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F

from pretext.core.types import Backbone

BATCH = 32  # items whose gradients are held at once


def embed_task(backbone: Backbone, x: Tensor, labels: Tensor, rng: Generator, l2: float = 1e-3) -> Tensor:
    """Fit a head to a task and return its embedding: a value for each filter of each convolution, (P,).

    The backbone stays as it is, in eval mode, and is the same for all tasks that are to be compared.

    Args:
        backbone: reads `x`.
        x: (N, C, *S) in [0, 1].
        labels: (N,).
        rng: draws the labels that the Fisher information wants.
        l2: of the head.

    Raises:
        ValueError: one class, or a backbone without a convolution.

    """
    names, classes = torch.unique(labels, return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"embed_task got labels of {len(names)} class; a task has two or more")
    backbone = backbone.eval()
    with torch.no_grad():
        features = torch.cat([backbone(part).pooled for part in torch.split(x, BATCH)])
    return fisher(backbone, fitted_head(features, classes, l2), x, rng)


def fitted_head(features: Tensor, classes: Tensor, l2: float = 1e-3) -> nn.Linear:
    """Fit multinomial logistic regression to features (N, D) and classes 0..K-1, each of which is there."""
    spread = features.std(0).clamp(min=1e-6)
    found = LogisticRegression(C=1 / (l2 * len(features)), max_iter=1000)
    found.fit((features / spread).cpu().numpy(), classes.cpu().numpy())
    weight, bias = (torch.as_tensor(part, dtype=features.dtype) for part in (found.coef_, found.intercept_))
    if len(weight) == 1:  # scikit-learn keeps one row of two classes
        weight, bias = torch.cat([-weight / 2, weight / 2]), torch.cat([-bias / 2, bias / 2])
    head = nn.Linear(features.shape[1], len(weight)).to(features).requires_grad_(False)
    with torch.no_grad():
        head.weight.copy_(weight.to(features) / spread)
        head.bias.copy_(bias)
    return head


def fisher(backbone: Backbone, head: nn.Module, x: Tensor, rng: Generator) -> Tensor:
    """Return the diagonal of the Fisher information of all convolutions, averaged over each filter: (P,).

    Labels are drawn from what head and backbone say themselves, one for each item, and gradients are squared item by
    item. (A batch's mean gradient squared, as in the authors' code, is another quantity.)

    Raises:
        ValueError: a backbone without a convolution.

    """
    filters = {
        f"{name}.weight" for name, m in backbone.named_modules() if isinstance(m, (nn.Conv1d, nn.Conv2d, nn.Conv3d))
    }
    parameters = {name: p.detach() for name, p in backbone.named_parameters() if name in filters}
    if not parameters:
        raise ValueError(
            f"task2vec looks at convolutions, but {type(backbone).__name__} has none; take another backbone"
        )

    def surprise(weights: Mapping[str, Tensor], item: Tensor, label: Tensor) -> Tensor:
        logits = head(functional_call(backbone, dict(weights), (item[None],)).pooled)
        return F.cross_entropy(logits, label[None])

    each = vmap(grad(surprise), in_dims=(None, 0, 0))
    sums = {name: torch.zeros(len(p), dtype=torch.float64) for name, p in parameters.items()}
    for part in torch.split(x, BATCH):
        with torch.no_grad():
            likely = head(backbone(part).pooled).softmax(1).cpu()
        drawn = torch.multinomial(likely, 1, generator=rng)[:, 0].to(part.device)
        for name, slope in each(parameters, part, drawn).items():
            sums[name] += slope.detach().double().square().flatten(2).mean(2).sum(0).cpu()
    return torch.cat([total / len(x) for total in sums.values()])


def distance(one: Tensor, other: Tensor) -> float:
    """Return the cosine distance of two embeddings, each divided by their sum: 0 of equal ones."""
    one, other = one.detach().double(), other.detach().double()
    both = (one + other).clamp(min=torch.finfo(torch.float64).tiny)
    return float(1 - F.cosine_similarity(one / both, other / both, dim=0))


def asymmetric_distance(source: Tensor, target: Tensor, trivial: Tensor, alpha: float = 0.15) -> float:
    """Return the distance less `alpha` times that of the source from the trivial task, so that rich sources are near.

    Args:
        source: embedding.
        target: embedding.
        trivial: embedding of a task that asks nothing, such as the smallest known one.
        alpha: the paper's 0.15.

    """
    return distance(source, target) - alpha * distance(source, trivial)
