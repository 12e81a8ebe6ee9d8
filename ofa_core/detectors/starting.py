"""The weights that a detector starts from: those of a classifier, as far as it is the detector's backbone."""

from pathlib import Path

from ofa_core.nn.network import SuperNetwork, build_supernet
from ofa_core.nn.weights import transfer
from ofa_core.run.errors import InputError
from ofa_core.space.detector import DetectorSpace


def load_backbone(net: SuperNetwork, path: str | Path) -> None:
    """Loads a classifier's weights into a detector's super-network, and their normalisation, in place. Heads stay as they are.

    path: what `nn.weights.transfer` takes for the backbone's space.
    Raises InputError, one line, for a file that does not fit, and for a network that is no detector.
    """
    if not isinstance(net.space, DetectorSpace):
        raise InputError(f"space: {net.space.name}: not a detector's")
    backbone = build_supernet(net.space.backbone, num_classes=2)
    transfer(path, backbone)
    own = net.state_dict()
    net.load_state_dict(own | {name: tensor for name, tensor in backbone.state_dict().items() if name in own})
    net.normalization = backbone.normalization
