"""Find the stages of a torchvision model in its graph: where to tap the network, and how its maps are laid out."""

from __future__ import annotations

import copy
import math
from collections.abc import Hashable
from typing import Literal, NamedTuple

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn import functional as F

# torchvision's names. A container is no part of a network, its children are; the head is what a backbone ends before.
CONTAINERS = frozenset({"features", "layers", "blocks", "trunk_output", "encoder"})
HEAD = frozenset({"avgpool", "classifier", "fc", "head", "heads"})
TOKEN_STAGES = 4  # of a transformer without strides, evenly spaced

Layout = Literal["nchw", "nhwc", "nld"]


class _Tracer(fx.Tracer):
    """Symbolic tracing that keeps torchvision's own operators whole: the control flow in them cannot be traced."""

    proxy_buffer_attributes = True  # else MaxVit's position indices become nameless constants

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return m.__module__.startswith("torchvision.ops") or super().is_leaf_module(m, module_qualified_name)


# Of the nodes of the networks that this process has built, because finding them takes longer than building the network.
SHAPES: dict[Hashable, dict[str, tuple[int, ...]]] = {}


class Tap(NamedTuple):
    """A place where a network is tapped."""

    name: str
    node: fx.Node
    channels: int
    layout: Layout


def tap(model: nn.Module, size: int, built: Hashable) -> tuple[fx.Graph, list[Tap]]:
    """Trace `model` and return its graph, which ends in a dict of the tapped stages, and the taps, shallow to deep.

    `built` says what `model` was built from: of two that were built from the same, shapes are found once.

    Evaluation mode is traced: the only branches on the mode in torchvision's models are auxiliary heads, which are not
    built, and functional dropout at rate 0.
    """
    graph = _Tracer().trace(model.eval())
    model.train()
    if (built, size) not in SHAPES:
        SHAPES[built, size] = _shapes(model, graph, size)
    shapes = SHAPES[built, size]
    parts = _parts(graph, shapes)
    taps = _token_taps(parts, shapes) or _image_taps(model, parts, shapes, size)
    graph.erase_node(next(node for node in graph.nodes if node.op == "output"))
    graph.output({tap.name: tap.node for tap in taps})
    return graph, taps


def _shapes(model: nn.Module, graph: fx.Graph, size: int) -> dict[str, tuple[int, ...]]:
    """Find the shape of every node with tensors, () for several, without computing: on a copy on the meta device."""
    ghost = fx.GraphModule(copy.deepcopy(model).to("meta"), copy.deepcopy(graph))
    ShapeProp(ghost).propagate(torch.zeros(1, 3, size, size, device="meta"))
    metas = {node.name: node.meta["tensor_meta"] for node in ghost.graph.nodes if "tensor_meta" in node.meta}
    return {name: tuple(getattr(meta, "shape", ())) for name, meta in metas.items()}


def _parts(graph: fx.Graph, shapes: dict[str, tuple[int, ...]]) -> dict[str, fx.Node]:
    """Find the tensor with which the image leaves each part of the trunk, by the path of the part, in order.

    Only a tensor through which everything flows counts, past which no branch of a block leads.
    """
    order = {node: i for i, node in enumerate(graph.nodes)}
    parts: dict[str, fx.Node] = {}
    of_the_image: set[fx.Node] = set()  # what depends on the image
    path, reach = "", 0  # reach: the furthest node that reads something computed so far
    for node in graph.nodes:
        path = _part(node) or path
        if path in HEAD or node.target is F.adaptive_avg_pool2d:
            break
        if node.name in shapes and (node.op == "placeholder" or not of_the_image.isdisjoint(node.all_input_nodes)):
            of_the_image.add(node)
            if path and reach <= order[node] and len(shapes[node.name]) > 2:  # 2: already pooled
                parts[path] = node
            reach = max([reach, *(order[user] for user in node.users if user.name in shapes)])
    return parts


def _part(node: fx.Node) -> str:
    """Return the path of the outermost module around `node` that is not a container, "" where there is none."""
    stack = node.meta.get("nn_module_stack", {})
    path: str = next(reversed(stack.values()))[0] if stack else ""
    steps = path.split(".")
    depth = next((i for i, step in enumerate(steps) if step not in CONTAINERS), len(steps))
    return ".".join(steps[: depth + 1]) if depth < len(steps) else ""


def _name(path: str) -> str:
    """Name a part: "features.3" is `features_3`, "trunk_output.block1" is `block1`."""
    steps = path.split(".")
    return "_".join(steps[-2:]) if steps[-1].isdigit() else steps[-1]


def _image_taps(
    model: nn.Module, parts: dict[str, fx.Node], shapes: dict[str, tuple[int, ...]], size: int
) -> list[Tap]:
    """Tap the last part at each halving of the resolution, and name the stage after the last part with weights."""
    taps: dict[int, Tap] = {}
    layers = 0
    for path, node in parts.items():
        part, shape = model.get_submodule(path), shapes[node.name]
        layout: Layout = "nchw" if shape[2] == shape[3] else "nhwc"
        channels, side = (shape[1], shape[3]) if layout == "nchw" else (shape[3], shape[2])
        halvings = round(math.log2(size / side))
        layers += sum(isinstance(module, nn.Conv2d | nn.Linear) for module in part.modules())
        name = "stem" if layers == 1 else _name(path)
        if not any(True for _ in part.parameters()):
            if halvings in taps:
                name = taps[halvings].name
            elif path != next(reversed(parts)):
                continue  # a pooling between two stages
        taps[halvings] = Tap(name, node, channels, layout)
    return list(taps.values())


def _token_taps(parts: dict[str, fx.Node], shapes: dict[str, tuple[int, ...]]) -> list[Tap]:
    """Tap evenly spaced blocks of a ViT, the last one after the final norm; of another network, nothing."""
    blocks = [path for path in parts if path.startswith("encoder.layers.")]
    ends = [len(blocks) * i // TOKEN_STAGES for i in range(1, TOKEN_STAGES + 1)] if blocks else []
    nodes = {_name(blocks[end - 1]): parts[blocks[end - 1] if end < len(blocks) else "encoder.ln"] for end in ends}
    return [Tap(name, node, shapes[node.name][-1], "nld") for name, node in nodes.items()]


def prune(model: nn.Module, graph: fx.Graph) -> fx.GraphModule:
    """Make a module of what the graph's outputs need, under torchvision's names."""
    whole = fx.GraphModule(model, graph)
    whole.graph.eliminate_dead_code()
    return fx.GraphModule(model, whole.graph, class_name=type(model).__name__)  # takes over only what the graph reads
