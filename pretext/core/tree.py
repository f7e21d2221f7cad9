"""Trees: a tensor, or a tuple, list or dict of trees, as questions, answers and batches are."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch import Tensor

from pretext.core.types import Tree


def mapped(change: Callable[[Tensor], Tensor], tree: Tree) -> Tree:
    """Change every tensor of a tree; whatever is no tensor stays."""
    if isinstance(tree, Tensor):
        return change(tree)
    if isinstance(tree, dict):
        return {key: mapped(change, value) for key, value in tree.items()}
    if isinstance(tree, tuple | list):
        values = [mapped(change, value) for value in tree]
        return type(tree)(*values) if hasattr(tree, "_fields") else type(tree)(values)
    return tree


def leaves(tree: Tree) -> Iterator[Tensor]:
    """Yield every tensor of a tree, in order."""
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, dict | tuple | list):
        for part in tree.values() if isinstance(tree, dict) else tree:
            yield from leaves(part)
