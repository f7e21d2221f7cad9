"""Trees: a tensor, or a tuple or dict of trees, as questions, answers and batches are."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from pretext.core.types import Tree


def mapped(change: Callable[[Tensor], Tensor], tree: Tree) -> Tree:
    """Change every tensor of a tree."""
    if isinstance(tree, Tensor):
        return change(tree)
    if isinstance(tree, dict):
        return {key: mapped(change, value) for key, value in tree.items()}
    if isinstance(tree, tuple):
        values = [mapped(change, value) for value in tree]
        return type(tree)(*values) if hasattr(tree, "_fields") else tuple(values)
    return tree
