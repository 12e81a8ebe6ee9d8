"""The latency tables published with Once-for-All (han-cai/files): reading them, and their key formats.

There is one YAML file per resolution. Keys look like `Conv-input:160x160x3-output:80x80x24`, and `mean` holds milliseconds.
There are two dialects:

* Samsung Note 10 (MobileNetV3, width 1.2): `expand` is a number of channels; keys have `se` and `hs`.
* Pixel 1 (ProxylessNAS): `expand` is a ratio; pooling has no entry.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from ofa_core.run.errors import InputError
from ofa_core.space.layers import Layer


@dataclass(frozen=True)
class Published:
    """A published table of one resolution.

    mean_ms: milliseconds by key. pooled: height of the feature map before pooling, which only the Pixel 1 dialect has in its
    Logits key. None means the Note 10 dialect.
    """

    mean_ms: dict[str, float]
    pooled: int | None = None

    def key(self, layer: Layer) -> str | None:
        """The layer's key. None for a layer without an entry, whose time counts as 0."""
        return note10_key(layer) if self.pooled is None else pixel1_key(layer, self.pooled)


def note10_key(layer: Layer) -> str:
    """The key in the Note 10 files."""
    if layer.kind == "mbconv":
        flags = f"idskip:{int(layer.residual)}-se:{int(layer.se > 0)}-hs:{int(layer.act == 'h_swish')}"
        return f"{_maps('expanded_conv', layer)}-expand:{layer.mid}-kernel:{layer.kernel}-stride:{layer.stride}-{flags}"
    if layer.kind == "avgpool":
        return _maps("AvgPool2D", layer)
    if layer.kind == "linear" and layer.act != "none":
        return _maps("Conv_2", layer)
    if layer.kind == "linear":
        return f"Logits-input:1x1x{layer.inp}-output:{layer.out}"
    return _maps("Conv" if layer.inp == 3 else "Conv_1", layer)


def pixel1_key(layer: Layer, pooled: int) -> str | None:
    """The key in the Pixel 1 file. None for pooling."""
    if layer.kind == "avgpool":
        return None
    if layer.kind == "linear":
        return f"Logits-input:{pooled}x{pooled}x{layer.inp}-output:{layer.out}"
    if layer.kind == "mbconv":
        block = f"{_maps('expanded_conv', layer)}-expand:{round(layer.mid / layer.inp)}-kernel:{layer.kernel}"
        return f"{block}-stride:{layer.stride}-idskip:{int(layer.residual)}"
    return _maps("Conv" if layer.inp == 3 else "Conv_1", layer)


def is_official(content: Any) -> bool:
    """Whether a parsed YAML file is one of these tables."""
    return isinstance(content, Mapping) and any(str(key).startswith("Conv-input:") for key in content)


def read_official(path: Path) -> tuple[int, Published]:
    """Resolution and table of one file. Raises InputError for a file that is not such a table."""
    content = read_yaml(path)
    if not is_official(content):
        raise InputError(f"{path}: not a latency table")
    stem = next(key for key in content if key.startswith("Conv-input:"))
    found = re.match(r"Conv-input:(\d+)x\1x3-", stem)
    logits = next((re.match(r"Logits-input:(\d+)x", key) for key in content if key.startswith("Logits-input:")), None)
    if not found or not logits:
        raise InputError(f"{path}: no resolution in {stem}, or no Logits entry")
    try:
        values = {key: float(entry["mean"]) for key, entry in content.items()}
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{path}: an entry without a number under mean") from None
    # Only the Note 10 dialect has the squeeze-excite flag.
    pooled = None if any("-se:" in key for key in content) else int(logits.group(1))
    return int(found.group(1)), Published(values, pooled)


def read_yaml(path: Path) -> Any:
    """Parses a YAML 1.2 file. Raises InputError if it is not YAML."""
    try:
        return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a YAML file: {str(error).splitlines()[0]}") from None


def _maps(name: str, layer: Layer) -> str:
    r, out = layer.resolution, layer.out_resolution
    return f"{name}-input:{r}x{r}x{layer.inp}-output:{out}x{out}x{layer.out}"
