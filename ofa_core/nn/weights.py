"""Weights on disk: byte-reproducible, safe safetensors files with a JSON description in their header."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ofa_core.nn.inputs import IMAGENET, SYMMETRIC, Normalization
from ofa_core.nn.network import CLASSIFIER, LayerModule, Network, SuperNetwork, build_supernet
from ofa_core.nn.official import load_official, official_classes
from ofa_core.run import files
from ofa_core.run.errors import InputError
from ofa_core.space.arch import Arch
from ofa_core.space.base import Space
from ofa_core.space.layers import Layer
from ofa_core.space.registry import space_of

CLASSIFIER_BIAS = f"parts.{CLASSIFIER}.bias"


def describe(net: SuperNetwork, supports: Space) -> dict[str, Any]:
    """A super-network's description: classes, and the part of its space that it was trained for."""
    return {"space": supports.description(), "num_classes": net.num_classes}


def save_weights(path: str | Path, net: LayerModule, description: dict[str, Any]) -> None:
    """Writes a network's state with a JSON-ready description, and its normalisation in it unless that is `SYMMETRIC`."""
    if net.normalization != SYMMETRIC:
        description = description | {"normalization": net.normalization.to_dict()}
    # One metadata key only: the library does not keep the order of several.
    metadata = {"description": json.dumps(description, sort_keys=True)}
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in net.state_dict().items()}
    files.write_bytes(path, save(state, metadata))


def read_description(path: str | Path) -> dict[str, Any]:
    """The description of a weights file. Raises a one-line InputError for a missing or foreign file."""
    try:
        with safe_open(path, framework="pt") as stored:
            return json.loads(stored.metadata()["description"])
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (SafetensorError, TypeError, KeyError, json.JSONDecodeError):
        raise InputError(f"{path}: not a weights file of this pipeline") from None


def load_weights(path: str | Path, net: LayerModule) -> dict[str, Any]:
    """Loads a network's state and normalisation in place; returns the description.

    Raises InputError when the file does not fit.
    """
    description = read_description(path)
    normalization = normalization_of(description, path)
    _load_state(path, _read_state(path), net)
    net.normalization = normalization
    return description


def _read_state(path: str | Path) -> dict[str, Tensor]:
    with safe_open(path, framework="pt") as stored:
        return {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (not a mapping)


def _load_state(path: str | Path, state: Mapping[str, Tensor], net: LayerModule) -> None:
    try:
        net.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(f"{path}: does not fit the network: {' '.join(str(error).split())[:300]}") from None


def normalization_of(description: Mapping[str, Any], path: str | Path) -> Normalization:
    """The normalisation in a description. Raises InputError, naming the file, for one that cannot be read."""
    try:
        return Normalization.from_dict(description["normalization"]) if "normalization" in description else SYMMETRIC
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def load_full(path: str | Path, net: SuperNetwork) -> Network:
    """Loads a super-network's file into `net`. Returns its full network, stand-alone and in eval mode: the teacher."""
    load_weights(path, net)
    return net.extract(net.space.largest()).eval()


def transfer(path: str | Path, net: SuperNetwork) -> None:
    """Loads the weights that training starts from, and their normalisation, in place.

    path: a super-network's file of this pipeline; the file of a stand-alone network that is the full network of the space
    (kernel matrices then stay the identity), such as `ofa fetch` writes; or a checkpoint in the published once-for-all layout,
    whose weights were trained with ImageNet's normalisation. The classifier is unchanged if the number of classes differs.

    Raises a one-line InputError for a file that does not fit.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        description = read_description(path)
        normalization, state = normalization_of(description, path), _read_state(path)
        expected = net.state_dict()
        if "layers" in description or "arch" in description:
            state = {name: value for name, value in expected.items() if ".matrix_" in name} | state
        same = len(state.get(CLASSIFIER_BIAS, ())) == net.num_classes
    else:
        source = build_supernet(net.space, official_classes(path))
        load_official(source, path)
        normalization, state, same = IMAGENET, source.state_dict(), source.num_classes == net.num_classes
    if not same:
        state = {name: value for name, value in state.items() if not name.startswith(f"parts.{CLASSIFIER}.")} | {
            name: value for name, value in net.state_dict().items() if name.startswith(f"parts.{CLASSIFIER}.")
        }
    _load_state(path, state, net)
    net.normalization = normalization


def save_layers(path: str | Path, net: Network) -> None:
    """Writes a network outside any space. The description holds its layers, all that `load_layers` needs."""
    description: dict[str, Any] = {"layers": [asdict(layer) for layer in net.active]}
    save_weights(path, net, description | ({"outputs": net.outputs} if net.outputs else {}))


def load_layers(path: str | Path) -> Network:
    """A network that `save_layers` wrote, in eval mode. Raises a one-line InputError for a missing or foreign file."""
    description = read_description(path)
    if "layers" not in description:
        raise InputError(f"{path}: holds no list of layers")
    net = Network([Layer.from_dict(fields) for fields in description["layers"]], outputs=description.get("outputs", ()))
    load_weights(path, net)
    return net.eval()


def save_network(
    path: str | Path,
    net: Network,
    arch: Arch,
    supernet: dict[str, Any],
    ranges: Mapping[str, tuple[float, float]] | None = None,
) -> None:
    """Writes a stand-alone network; the description holds what `load_network` needs. supernet: its origin's description.
    Its key published, if any, names a network that was trained elsewhere.

    ranges: of its activations, if it was trained with quantisation; `load_ranges` reads them.
    """
    description: dict[str, Any] = {key: supernet[key] for key in ("space", "num_classes", "published") if key in supernet}
    description |= {"arch": arch.to_dict()}
    save_weights(path, net, description if ranges is None else description | {"ranges": ranges})


def load_network(path: str | Path, resolution: int | None = None) -> tuple[Network, Arch]:
    """A stand-alone network in eval mode, and its architecture, from the file alone.

    resolution: of its input in pixels. None: that in the file. Raises a one-line InputError for a missing or foreign file.
    """
    description = read_description(path)
    if "arch" not in description:
        raise InputError(f"{path}: holds a super-network, not a stand-alone network")
    arch = Arch.from_dict(description["arch"] | ({} if resolution is None else {"r": resolution}))
    space = space_of(description["space"])
    net = Network(space.layers(arch, description["num_classes"]), outputs=space.outputs)
    load_weights(path, net)
    return net.eval(), arch


def load_ranges(path: str | Path) -> dict[str, tuple[float, float]] | None:
    """The activation ranges in a file of `save_network`; None if the network was trained without quantisation.

    Raises a one-line InputError for a missing or foreign file.
    """
    ranges = read_description(path).get("ranges")
    if ranges is None:
        return None
    try:
        return {str(name): (float(low), float(high)) for name, (low, high) in ranges.items()}
    except (AttributeError, TypeError, ValueError):
        raise InputError(f"{path}: ranges: not pairs of numbers") from None
