"""Loads networks published by others: their configurations and weights.

Once-for-all super-networks and specialised networks come from mit-han-lab/once-for-all (files in han-cai/files), the four
models of the LPCVC winner from mit-han-lab/lpcvc.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ofa_core.nn.network import Network
from ofa_core.run.errors import InputError
from ofa_core.space.netconfig import arch_of_config as arch_of_config
from ofa_core.space.netconfig import dropout_rate, image_size, layers_of_config, read_config

# Published names to ours, applied in this order. Elastic layers wrap ordinary ones, so names may repeat: `(conv.)?`.
# Older files say mobile_inverted_conv, newer ones conv.
_RENAMES = [
    (r"^blocks\.(\d+)\.(mobile_inverted_conv|conv)\.", r"parts.block_\1."),
    (r"^blocks\.(\d+)\.", r"parts.block_\1."),
    (r"^input_stem\.(\d+)\.(conv\.(?=conv\.conv|bn\.bn))?", r"parts.stem_\1.conv."),
    (r"^first_conv\.", "parts.first_conv.conv."),
    (r"^final_expand_layer\.", "parts.final_expand.conv."),
    (r"^feature_mix_layer\.", "parts.feature_mix.conv."),
    (r"^classifier\.(linear\.)+", "parts.classifier."),
    (r"\.inverted_bottleneck\.", ".expand."),
    (r"\.depth_conv\.se\.fc\.", ".se."),
    (r"\.depth_conv\.", ".depthwise."),
    (r"\.point_linear\.", ".project."),
    (r"\.conv1\.", ".reduce."),
    (r"\.conv2\.", ".spatial."),
    (r"\.conv3\.", ".restore."),
    (r"\.downsample\.", ".shortcut."),
    (r"\.(?:conv\.)+(\d)to(\d)_matrix$", r".matrix_\1to\2"),
    (r"\.bn\.bn\.", ".bn."),
]


def official_classes(path: str | Path) -> int:
    """The number of classes of a checkpoint in the published layout. Raises InputError as `load_official` does."""
    stored = _read(path)
    biases = [tensor for name, tensor in stored.items() if re.fullmatch(r"classifier\.(linear\.)+bias", name)]
    if len(biases) != 1:
        raise InputError(f"{path}: has no classifier in the published layout")
    return len(biases[0])


def load_official(net: Network, path: str | Path) -> None:
    """Loads a checkpoint in the mit-han-lab/once-for-all layout into `net`, in place.

    net: a super-network or a stand-alone network of the same space, width and classes.
    path: a file holding a state dict, bare or under "state_dict"; read with torch's safe loader, onto the CPU.

    Raises InputError that lists missing and surplus weights and wrong shapes. The network is then unchanged.
    """
    stored, ours, state, problems = _read(path), net.state_dict(), {}, []
    for published, tensor in stored.items():
        if published.endswith("num_batches_tracked"):
            continue
        name = _our_name(published, ours)
        if name not in ours:
            problems.append(f"surplus {published}")
            continue
        if tensor.dim() == 4 and ours[name].dim() == 2:  # MobileNetV3's feature mix: published as a 1x1 convolution
            tensor = tensor.flatten(1)
        if tensor.shape != ours[name].shape:
            problems.append(f"{published} is {tuple(tensor.shape)}, not {tuple(ours[name].shape)}")
        state[name] = tensor
    problems += [f"missing {name}" for name in ours if name not in state]
    if problems:
        shown = "; ".join(problems[:20]) + (f"; and {len(problems) - 20} more" if len(problems) > 20 else "")
        raise InputError(f"{path}: does not fit the network: {shown}")
    net.load_state_dict(state)  # copies


def _read(path: str | Path) -> Mapping[str, Tensor]:
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except Exception as error:  # torch raises many kinds for a broken or unsafe file
        raise InputError(f"{path}: not a checkpoint that can be read safely ({str(error).splitlines()[0]})") from None
    stored = stored.get("state_dict", stored) if isinstance(stored, Mapping) else stored
    if not isinstance(stored, Mapping) or not all(isinstance(value, Tensor) for value in stored.values()):
        raise InputError(f"{path}: not a state dict")
    return stored


def _our_name(published: str, ours: Mapping[str, Tensor]) -> str:
    name = published
    for pattern, replacement in _RENAMES:
        name = re.sub(pattern, replacement, name)
    # What is left is a convolution's weight under one to three levels of "conv".
    stem = re.sub(r"\.(?:conv\.)*weight$", "", name)
    return next((candidate for candidate in (name, f"{stem}.weight", f"{stem}.conv.weight") if candidate in ours), name)


def load_specialized(
    net_config: str | Path, weights: str | Path, run_config: str | Path | None = None, resolution: int | None = None
) -> Network:
    """Loads a published specialised network as a stand-alone network, in eval mode.

    net_config: JSON with the layers. weights: a state dict, as `load_official` reads it.
    run_config: JSON with "image_size"; None: run.config beside `net_config`. resolution: in pixels, replaces run_config.

    The input resolution is `network.active[0].resolution`.
    Raises InputError, naming file and field, for a configuration or weights that do not fit.
    """
    config = read_config(net_config)
    if resolution is None:
        run_config = Path(net_config).with_name("run.config") if run_config is None else run_config
        resolution = image_size(read_config(run_config), str(run_config))
    layers = layers_of_config(config, resolution, str(net_config))
    network = Network(layers, dropout=dropout_rate(config, str(net_config)))
    load_official(network, weights)
    return network.eval()
