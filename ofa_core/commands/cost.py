"""Count MACs and parameters of a sub-network, layer by layer, without building it."""

import argparse

from ofa_core.commands import arguments
from ofa_core.commands.output import Output
from ofa_core.run.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `ofa cost --help`."""
    arguments.add_space(parser)
    arguments.add_arch(parser)
    parser.add_argument("--num-classes", type=int, default=1000, metavar="N", help="default: %(default)s")


def run(args: argparse.Namespace) -> Output:
    """Raises InputError for an architecture that the space does not have."""
    if args.num_classes < 1:
        raise InputError(f"--num-classes: {args.num_classes} is less than 1")
    space = arguments.space_of(args)
    arch = arguments.arch_of(args, space)
    layers = space.layers(arch, args.num_classes)
    total = space.cost(arch, args.num_classes)
    rows = [{"name": layer.name, "key": layer.key, "macs": layer.macs, "params": layer.params} for layer in layers]
    lines = [f"{row['name']:<14}{row['macs']:>15,}{row['params']:>14,}  {row['key']}" for row in rows]
    lines.insert(0, f"{'layer':<14}{'MACs':>15}{'params':>14}  shape")
    lines.append(f"{'total':<14}{total.macs:>15,}{total.params:>14,}  {space.name}, {arch.r} x {arch.r} pixels")
    width = space.description().get("width_mult")
    found = {"space": space.name, "width_mult": width, "num_classes": args.num_classes, "arch": arch.to_dict()}
    return Output("\n".join(lines), found | {"macs": total.macs, "params": total.params, "layers": rows})
