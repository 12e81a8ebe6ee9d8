"""Weights published by others: mit-han-lab/once-for-all's own checkpoint layout, read into our networks."""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ofa_core.nn.network import Network

# Published names to ours, applied in this order. `(conv.)?` and the like: elastic layers wrap an ordinary one, which
# doubles a name; older files say mobile_inverted_conv where newer ones say conv.
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


def load_official(net: Network, path: str | Path) -> None:
    """Loads a checkpoint in the layout of mit-han-lab/once-for-all into a network of ours, in place.

    net: a super-network or a stand-alone network of the same space, width and classes.
    path: a file holding a state dict, bare or under "state_dict"; read with torch's safe loader, onto the CPU.

    Raises ValueError that lists missing and surplus weights and wrong shapes; the network is untouched then.
    """
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except Exception as error:  # torch raises many kinds for a broken or unsafe file
        raise ValueError(f"{path}: not a checkpoint that can be read safely ({str(error).splitlines()[0]})") from None
    stored = stored.get("state_dict", stored) if isinstance(stored, Mapping) else stored
    if not isinstance(stored, Mapping) or not all(isinstance(value, Tensor) for value in stored.values()):
        raise ValueError(f"{path}: not a state dict")

    ours, state, problems = net.state_dict(), {}, []
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
        raise ValueError(f"{path}: does not fit the network: {shown}")
    net.load_state_dict(state)  # copies


def _our_name(published: str, ours: Mapping[str, Tensor]) -> str:
    name = published
    for pattern, replacement in _RENAMES:
        name = re.sub(pattern, replacement, name)
    # What is left is a convolution's weight under one to three levels of "conv".
    stem = re.sub(r"\.(?:conv\.)*weight$", "", name)
    return next((candidate for candidate in (name, f"{stem}.weight", f"{stem}.conv.weight") if candidate in ours), name)
