"""Losses: pure functions to a Grade, computed in float32 whatever comes in."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from pretext.core.types import Grade


def cross_entropy(logits: Tensor, labels: Tensor) -> Grade:
    """Grade K-way choices, logits (N, K) against labels (N,): mean cross entropy in nats, and the share of right ones.

    Equal logits are no guess at all: the first class counts as chosen, so `accuracy` is then the share of class 0.
    """
    right = logits.detach().argmax(1) == labels
    return Grade(functional.cross_entropy(logits.float(), labels), {"accuracy": right.float().mean()})


def nt_xent(z: Tensor, temperature: float, partners: Tensor | None = None) -> Tensor:
    """Compare views by SimCLR's loss: mean over all 2 N of the cross entropy of finding the partner among the others.

    Similarity is the cosine over the temperature; a view is never compared with itself. Where all embeddings are equal
    the loss is ln(2 N - 1).

    Args:
        z: (2 N, D) embeddings; without `partners`, rows 2 i and 2 i + 1 are the two views of item i.
        temperature: positive.
        partners: (2 N,) int64, the row of each view's partner.

    Returns:
        () in nats, float32.

    """
    if partners is None:
        partners = torch.arange(len(z), device=z.device) ^ 1  # the other of two neighbours
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    return functional.cross_entropy((cosines(z) / temperature).masked_fill(itself, -math.inf), partners)


def contrastive(distances: Tensor, alike: Tensor, margin: float) -> Grade:
    """Grade pairs by how far apart their embeddings lie: https://arxiv.org/abs/1807.00230, over all pairs averaged.

    An alike pair costs d^2, another one max(0, margin - d)^2. Where a share p of pairs that look the same are not
    alike, d = p margin costs least; therefore `accuracy` takes a pair for alike where d is below half the margin.
    With as many alike as not, embeddings that are all equal cost margin^2 / 2 and score 0.5; so do constants that lie
    half a margin apart, but they cost half of that: a falling loss alone does not show that anything is told apart.

    Args:
        distances: (N,), not squared.
        alike: (N,), 1 or True where the pair belongs together.
        margin: positive.

    """
    d, alike = distances.float(), alike.bool()
    loss = torch.where(alike, d.square(), (margin - d).clamp(min=0).square()).mean()
    return Grade(loss, {"accuracy": ((d.detach() < margin / 2) == alike).float().mean()})


def max_margin(distances: Tensor, margin: float, hardest: bool = False) -> Tensor:
    """Pull right pairs together and push wrong ones apart: mean of d_ii + max(0, margin - d_ij) over j != i.

    Where all distances are equal, of whatever size up to the margin, the loss is the margin; a guess that knows nothing
    of the right ones never costs less.

    Args:
        distances: (N, N), N >= 2, plain or squared; right pairs on the diagonal.
        margin: positive.
        hardest: count only the nearest wrong one of each row instead of their mean.

    Returns:
        (), float32.

    """
    distances = distances.float()
    right, others = distances.diagonal(), len(distances) - 1
    itself = torch.eye(len(distances), dtype=torch.bool, device=distances.device)
    push = (margin - distances).clamp(min=0).masked_fill(itself, 0)  # 0 is also the least of the others
    return (right + (push.amax(1) if hardest else push.sum(1) / others)).mean()


def info_nce(similarities: Tensor, hardest: bool = False) -> Tensor:
    """Find the right column of each row and the right row of each column: the mean of both cross entropies.

    Where all similarities are equal the loss is ln N, with `hardest` ln 2.

    Args:
        similarities: (N, N), N >= 2, already over the temperature; right pairs on the diagonal.
        hardest: tell the right one from the most similar wrong one alone instead of from all.

    Returns:
        () in nats, float32.

    """
    similarities = similarities.float()
    right = torch.arange(len(similarities), device=similarities.device)
    itself = torch.eye(len(similarities), dtype=torch.bool, device=similarities.device)
    losses = []
    for logits in (similarities, similarities.mT):
        if hardest:
            wrong = logits.masked_fill(itself, -math.inf).amax(1)
            losses.append(functional.softplus(wrong - logits.diagonal()).mean())
        else:
            losses.append(functional.cross_entropy(logits, right))
    return torch.stack(losses).mean()


def triplet(
    similarities: Tensor, margin: float, hardest: bool = False, reduction: Literal["mean", "sum"] = "mean"
) -> Tensor:
    """Keep each right one more similar than wrong ones by a margin, both ways: [margin + s_ij - s_ii]+ over j != i.

    Rows and columns are added up. By distance d it is the same of similarities -d. With `hardest` it is VSE++'s loss
    (https://arxiv.org/abs/1707.05612), which its code sums over items. Where all are equal it is 2 margin an item.

    Args:
        similarities: (N, N), N >= 2; right pairs on the diagonal.
        margin: positive.
        hardest: of each row and column only the wrong one that costs most, instead of the mean over all.
        reduction: over items.

    Returns:
        (), float32.

    """
    similarities = similarities.float()
    itself = torch.eye(len(similarities), dtype=torch.bool, device=similarities.device)
    costs = similarities.new_zeros(len(similarities))
    for matrix in (similarities, similarities.mT):
        each = (margin + matrix - matrix.diagonal().unsqueeze(1)).clamp(min=0).masked_fill(itself, 0)
        costs = costs + (each.amax(1) if hardest else each.sum(1) / (len(each) - 1))
    return costs.mean() if reduction == "mean" else costs.sum()


def ranking(similarities: Tensor) -> Tensor:
    """Tell the share of wrong columns that are less similar to their row than the right one; a tie counts half.

    Args:
        similarities: (N, N), N >= 2, the more the more similar; right pairs on the diagonal.

    Returns:
        () in [0, 1], without gradient; 0.5 is a blind guess.

    """
    similarities = similarities.detach()
    right = similarities.diagonal().unsqueeze(1)
    beaten = (similarities < right).float() + 0.5 * (similarities == right).float()
    others = len(similarities) - 1
    return ((beaten.sum(1) - 0.5) / others).mean()  # less the right one's tie with itself


def cosines(embeddings: Tensor) -> Tensor:
    """Compare all embeddings (M, D) with each other: (M, M), float32."""
    unit = functional.normalize(embeddings.float(), dim=1)
    return unit @ unit.mT


def ranking_of_partners(embeddings: Tensor, partners: Tensor) -> Tensor:
    """Tell the share of other views that are less similar than the partner; a tie counts half.

    Args:
        embeddings: (M, D), compared by their cosines.
        partners: (M,) int64, the row of each one's partner.

    Returns:
        () in [0, 1], without gradient; 0.5 is a blind guess.

    """
    similar, index = cosines(embeddings.detach()), torch.arange(len(embeddings), device=embeddings.device)
    right = similar.gather(1, partners[:, None])
    others = (index != index[:, None]) & (index != partners[:, None])
    beaten = (similar < right).float() + 0.5 * (similar == right).float()
    return (beaten * others).sum() / others.sum()


def blind_guess(classes: int) -> Grade:
    """Give the grade of a guess at K equally likely classes that knows nothing: ln K nats, 1/K right."""
    return Grade(torch.tensor(math.log(classes)), {"accuracy": torch.tensor(1 / classes)})
