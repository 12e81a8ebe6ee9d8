"""Latency lookup tables: milliseconds of every possible layer of a space. Their sum predicts the latency of a network.

Our file format is JSON: the device, the settings of the measurement, and the median for each `Layer.key`. The tables published
with Once-for-All can be read too (`ofa_core.latency.official`).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ofa_core.latency.official import Published, read_official
from ofa_core.run.errors import InputError
from ofa_core.runtime.timing import Timing
from ofa_core.space.arch import Arch
from ofa_core.space.base import Space
from ofa_core.space.layer_sums import LayerSum
from ofa_core.space.layers import Layer


@dataclass
class LatencyTable:
    """Predicts the latency of a network as overhead_ms + scale * (sum over layers of milliseconds times factor of the group).

    device: the record of the device, as from `runtime.device_record.host_device`, with a date. dtype: "uint8" or "float32".
    resolutions: input sizes in pixels for which layers were measured. num_classes: number of classes of the classifier.
    hard_swish: "fused" or "composed", as in the measured files.
    scale, overhead_ms, factors (by `layer_group`, 1 if missing): fitted to whole networks. layers: timings by `Layer.key`.
    """

    device: dict[str, Any]
    dtype: str
    resolutions: tuple[int, ...]
    num_classes: int = 1000
    hard_swish: str = "composed"
    scale: float = 1.0
    overhead_ms: float = 0.0
    factors: dict[str, float] = field(default_factory=dict)
    layers: dict[str, Timing] = field(default_factory=dict)
    published: dict[int, Published] = field(default_factory=dict, repr=False)
    """Published tables by resolution; empty in a table of ours. The same layer may have different values in each."""

    def __post_init__(self) -> None:
        self._sums: dict[tuple[Space, int], LayerSum] = {}

    @classmethod
    def load(cls, path: str | Path) -> "LatencyTable":
        """Reads a file written by `save`, a published YAML file, or a folder of these (`160_lookup_table.yaml` and so on).

        Raises FileNotFoundError. Raises InputError, naming the file, if it is not a latency table.
        """
        path = Path(path)
        if not path.is_dir() and path.suffix not in (".yaml", ".yml"):
            return _from_json(path)
        paths = sorted(path.glob("*.y*ml")) if path.is_dir() else [path]
        if not paths:
            raise FileNotFoundError(f"{path}: no .yaml latency tables in this folder")
        published = dict(map(read_official, paths))
        return cls({"kind": "published", "file": path.name}, "float32", tuple(sorted(published)), published=published)

    def save(self, path: str | Path) -> None:
        """Writes JSON with one line per layer, sorted. Equal tables give equal bytes."""
        head: dict[str, Any] = {
            name: getattr(self, name) for name in ("device", "dtype", "resolutions", "num_classes", "hard_swish")
        }
        head["correction"] = {"scale": self.scale, "overhead_ms": self.overhead_ms, "factors": self.factors}
        lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
        layers = [f"{json.dumps(key)}: {json.dumps(asdict(entry))}" for key, entry in sorted(self.layers.items())]
        if self.published:
            lines.append(
                f'"published": {json.dumps({r: asdict(table) for r, table in sorted(self.published.items())}, indent=1)}'
            )
        text = ",\n  ".join([*lines, '"layers": {\n    ' + ",\n    ".join(layers) + "\n  }"])
        Path(path).write_text("{\n  " + text + "\n}\n", encoding="utf-8", newline="\n")

    def predict(self, space: Space, arch: Arch) -> float:
        """Milliseconds of one network.

        Raises KeyError, naming the layer, if the table lacks one, and InputError if `arch` is not in the space.
        """
        total = 0.0
        for layer in space.layers(arch, self.num_classes):
            total += self.layer_ms(layer, arch.r)
        return self.overhead_ms + self.scale * total

    def layer_ms(self, layer: Layer, resolution: int) -> float:
        """Milliseconds of one layer of a network with this input resolution, before `scale`.

        Raises KeyError, naming the layer, if the table lacks it.
        """
        value = self._value(layer, resolution)
        if np.isnan(value):
            raise KeyError(f"{self._key(layer, resolution)}: not in the latency table (input {resolution}x{resolution})")
        return value

    def predict_many(self, space: Space, archs: Sequence[Arch]) -> np.ndarray:
        """Milliseconds (n,), float64, of many networks. Same values as `predict`, in a few array operations."""
        return self.predict_codes(space, *space.encode(archs))

    def predict_codes(self, space: Space, codes: np.ndarray, resolutions: np.ndarray) -> np.ndarray:
        """Milliseconds (n,) of encoded networks: codes (n, genes) and resolutions (n,) in pixels, as from `space.encode`."""
        sums = np.empty(len(codes))
        for resolution in np.unique(resolutions):
            rows = resolutions == resolution
            sums[rows] = self._layer_sum(space, int(resolution)).of_codes(codes[rows], resolutions[rows])
        missing = np.flatnonzero(np.isnan(sums))
        if len(missing):  # predict finds the layer and raises
            self.predict(space, space.decode(codes[missing[:1]], resolutions[missing[:1]])[0])
        return self.overhead_ms + self.scale * sums

    def slot_tables(self, space: Space, resolution: int) -> tuple[list[np.ndarray], float]:
        """The terms that `predict_codes` adds up.

        First the milliseconds of the layer in each slot of the space, with one axis per gene that the layer depends on, and NaN
        where the table lacks it. Then the constant that every network adds, in milliseconds.
        """
        tables = self._layer_sum(space, resolution).tables(resolution)
        return [self.scale * table for table in tables], self.overhead_ms

    def _layer_sum(self, space: Space, resolution: int) -> LayerSum:
        """The layer sum of one resolution. In published tables the same layer has different values at other resolutions."""
        if (space, resolution) not in self._sums:
            self._sums[space, resolution] = LayerSum(space, lambda layer: self._value(layer, resolution), self.num_classes)
        return self._sums[space, resolution]

    def _key(self, layer: Layer, resolution: int) -> str | None:
        if not self.published:
            return layer.key
        # If the resolution is missing, use the dialect of any table: the key then appears only in an error message.
        return self.published.get(resolution, next(iter(self.published.values()))).key(layer)

    def _value(self, layer: Layer, resolution: int) -> float:
        """As `layer_ms`, but NaN if the table lacks the layer. Networks that do not use the layer can still be predicted."""
        key = self._key(layer, resolution)
        if key is None:
            return 0.0
        if self.published:
            table = self.published.get(resolution)
            value = np.nan if table is None else table.mean_ms.get(key, np.nan)
        else:
            value = self.layers[key].median_ms if key in self.layers else np.nan
        return value * self.factors.get(layer_group(layer), 1.0)


def layer_group(layer: Layer) -> str:
    """The group of a layer; each group has one correction factor.

    Groups are blocks by kernel size, other convolutions, and the head (pooling, linear layers and joins). Devices differ in how
    well they run depthwise convolutions of each size. A layer inside a network also sees a different cache than one that runs
    alone.
    """
    if layer.mid:
        return f"{layer.kind}-kernel:{layer.kernel}"
    return "conv" if layer.window else "head"


def _from_json(path: Path) -> LatencyTable:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        correction: Mapping[str, Any] = content["correction"]
        return LatencyTable(
            device=dict(content["device"]),
            dtype=str(content["dtype"]),
            resolutions=tuple(int(r) for r in content["resolutions"]),
            num_classes=int(content["num_classes"]),
            hard_swish=str(content["hard_swish"]),
            scale=float(correction["scale"]),
            overhead_ms=float(correction["overhead_ms"]),
            factors={str(group): float(factor) for group, factor in correction.get("factors", {}).items()},
            published={int(r): Published(**table) for r, table in content.get("published", {}).items()},
            layers={str(key): Timing(**entry) for key, entry in content["layers"].items()},
        )
    except KeyError as error:
        raise InputError(f"{path}: not a latency table: {error.args[0]} is missing") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: not a latency table: {error}") from None
