"""Times float against integer files on this machine: whole networks, and layer by layer.

    python -m benchmarks.export NET.safetensors                 # a network of this pipeline
    python -m benchmarks.export net.config weights              # a published network
    python -m benchmarks.export NET.safetensors --other x.tflite  # also a file from another converter

Files take turns on one thread, so a busy minute of the machine does not affect just one file.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from ofa_core.convert.integer import calibrate, quantize
from ofa_core.convert.network import tf_network
from ofa_core.convert.operators import operators
from ofa_core.convert.tflite import convert_float
from ofa_core.convert.timed_files import layer_file
from ofa_core.nn.network import Network
from ofa_core.nn.official import load_specialized
from ofa_core.nn.weights import load_network
from ofa_core.runtime.device_record import device_name, host_device
from ofa_core.runtime.host import time_in_turns
from ofa_core.space.layers import Layer


def whole(net: Network, others: list[Path], seconds: float) -> dict[str, float]:
    """Milliseconds of the whole network in every format, and of other files."""
    resolution = net.active[0].resolution
    noise = np.random.default_rng(0).integers(0, 256, (8, resolution, resolution, 3), dtype=np.uint8)
    swishes = any(layer.act == "h_swish" for layer in net.active)
    contents = {path.name: path.read_bytes() for path in others}
    for form in ("composed", "fused") if swishes else ("composed",):
        network = tf_network(net, hard_swish=form)
        float_file = convert_float(network)
        suffix = f", {form} hard swish" if swishes else ""
        uint8_file = quantize(float_file, network.ops, calibrate(net, noise, "minmax", form))
        contents |= {f"float{suffix}": float_file, f"uint8{suffix}": uint8_file}
    print({name: dict(operators(content)) for name, content in contents.items()})
    return time_in_turns(contents, seconds=seconds)


def layers(net: Network, seconds: float) -> list[dict[str, object]]:
    """Milliseconds of every distinct layer, alone in a file, in float and int8. The layer that gains least comes first."""
    distinct: dict[str, Layer] = {layer.key: layer for layer in net.active}
    contents = {(key, dtype): layer_file(layer, dtype) for key, layer in distinct.items() for dtype in ("float32", "uint8")}
    timings = time_in_turns({" ".join(name): content for name, content in contents.items()}, seconds=seconds)
    rows = []
    for key, layer in distinct.items():
        exact, coarse = (timings[f"{key} {dtype}"] for dtype in ("float32", "uint8"))
        row = {"layer": key, "macs": layer.macs, "float_ms": exact, "int8_ms": coarse, "int8_over_float": coarse / exact}
        rows.append(row)
    return sorted(rows, key=lambda row: -row["int8_over_float"])


def main() -> None:
    """Prints a table, and JSON with --json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", nargs="+", type=Path)
    parser.add_argument("--other", nargs="*", type=Path, default=[], help="TFLite files of the same network")
    parser.add_argument("--seconds", type=float, default=0.1, help="seconds of runs in each of 5 interpreters per file")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    net = load_specialized(*args.network) if len(args.network) == 2 else load_network(args.network[0])[0]
    found = {"device": device_name(host_device(1)), "networks": whole(net, args.other, args.seconds)}
    found["layers"] = layers(net, args.seconds)
    if args.json:
        print(json.dumps(found, indent=2))
        return
    print(found["device"])
    for name, milliseconds in found["networks"].items():
        print(f"{milliseconds:9.4f} ms  {name}")
    print(f"{'float ms':>10}{'int8 ms':>10}{'ratio':>7}  layer")
    for row in found["layers"]:
        print(f"{row['float_ms']:10.4f}{row['int8_ms']:10.4f}{row['int8_over_float']:7.2f}  {row['layer']}")


if __name__ == "__main__":
    main()
