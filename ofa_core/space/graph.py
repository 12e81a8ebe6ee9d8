"""Lists of layers as graphs: who reads what, which points are kept for later, and the operations of a whole network."""

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from ofa_core.run.errors import InputError
from ofa_core.space.layers import Layer, lower
from ofa_core.space.ops import IMAGE, HardSwish, Op


class Step(NamedTuple):
    """A layer in its network. sources: the points it reads. taps: points inside it that are read later, or are outputs.
    unused: points that no later layer reads."""

    layer: Layer
    sources: tuple[str, ...]
    taps: tuple[str, ...]
    unused: tuple[str, ...]


def sources(layers: Sequence[Layer]) -> list[tuple[str, ...]]:
    """The points that each layer reads: those it names, or the layer before it; the first reads the image."""
    before = [IMAGE, *(layer.name for layer in layers)]
    return [layer.sources or (source,) for layer, source in zip(layers, before, strict=False)]


def output_points(layers: Sequence[Layer], outputs: Sequence[str] = ()) -> tuple[str, ...]:
    """The points a network returns: those named, or its last layer."""
    return tuple(outputs) or (layers[-1].name,)


def ends(layers: Sequence[Layer]) -> tuple[str, ...]:
    """The layers that no other reads, in the order they run: what the network is for."""
    read = {point.partition(".")[0] for points in sources(layers) for point in points}
    return tuple(layer.name for layer in layers if layer.name not in read)


def plan(layers: Sequence[Layer], outputs: Sequence[str] = ()) -> list[Step]:
    """The steps of a network. Raises InputError naming a layer whose source is not computed before it."""
    reads, given = sources(layers), output_points(layers, outputs)
    names = [IMAGE, *(layer.name for layer in layers)]
    for i, (layer, points) in enumerate(zip(layers, reads, strict=True)):
        for point in points:
            if point.partition(".")[0] not in names[: i + 1]:
                raise InputError(f"{layer.name}: source: {point} is not computed before it")
    for point in given:
        if point.partition(".")[0] not in names:
            raise InputError(f"outputs: {point} is not a point of the network")
    wanted = {*given, *(point for points in reads for point in points)}
    last = {point: i for i, points in enumerate(reads) for point in points if point not in given}
    steps = []
    for i, (layer, points) in enumerate(zip(layers, reads, strict=True)):
        taps = tuple(sorted(point for point in wanted if point.startswith(f"{layer.name}.")))
        unused = tuple(point for point, reader in last.items() if reader == i)
        steps.append(Step(layer, points, taps, unused))
    return steps


def lower_network(layers: Sequence[Layer], hard_swish: HardSwish = "composed", inputs: Sequence[str] = (IMAGE,)) -> list[Op]:
    """The operations of a network in the order they run. inputs: the points that the first layer reads.

    Raises InputError naming a layer whose source is not computed before it, or has the wrong shape.
    """
    if not layers:
        raise InputError("network: no layers")
    ops: list[Op] = []
    shapes = dict(zip(inputs, layers[0].shapes, strict=False))  # too few or unknown ones are found below
    for layer, points in zip(layers, sources(layers), strict=True):
        for point, shape in zip(points, layer.shapes, strict=True):
            if point not in shapes:
                raise InputError(f"{layer.name}: source: {point} is not computed before it")
            if shapes[point] != shape:
                raise InputError(f"{layer.name}: does not take the output of {point}")
        for op in lower(layer, hard_swish, *points[:1]):
            shapes[op.point] = (op.out, op.out_resolution)
            ops.append(op)
    return ops


def range_points(ops: Sequence[Op]) -> dict[str, str]:
    """For every point, the one whose activation range it shares: itself, a pool's input, or the join that reads it.

    In integer files the maps that are joined and the result have one scale.
    """
    found = {IMAGE: IMAGE}
    for op in ops:
        found[op.point] = found[op.inputs[0]] if op.pools else op.point
        if op.kind == "join":
            found |= dict.fromkeys(op.inputs, op.point)
    return found


def last_reads(ops: Sequence[Op], outputs: Collection[str]) -> Iterator[tuple[Op, list[str]]]:
    """Every operation with the points that no later operation reads."""
    last = {point: i for i, op in enumerate(ops) for point in op.inputs if point not in outputs}
    for i, op in enumerate(ops):
        yield op, [point for point in dict.fromkeys(op.inputs) if last.get(point) == i]
