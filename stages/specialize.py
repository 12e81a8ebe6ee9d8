"""Stage specialize: extracts a target's network, measures its batch norm statistics and checks the written file."""

import argparse

from ofa_core import files
from ofa_core.arch import Arch
from ofa_core.nn import build_supernet
from ofa_core.spaces import SpaceParams
from ofa_core.stage import exit_cleanly, running
from ofa_core.training.evaluation import Evaluator, use_threads
from ofa_core.training.images import Images
from ofa_core.training.params import SpecializeParams, TrainingParams
from ofa_core.training.specialize import saved_top1
from ofa_core.training.weights import load_weights, save_network


def main() -> None:
    """Writes build/specialized/TARGET.safetensors and reports/specialize/TARGET.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", required=True, help="a name under search.targets")
    name = parser.parse_args().target
    with running(f"specialize@{name}") as stage:
        seed = stage.params.read("seed", int)
        space = stage.params.read("space", SpaceParams).build()
        shared = stage.params.read("training", TrainingParams)
        params = stage.params.read("specialize", SpecializeParams)
        last = stage.params.read("shrink.last", str)
        weights, dataset = stage.input(files.supernet(last)), stage.input(files.DATASET)
        searched = files.read_json(stage.input(files.searched(name)))
        arch = Arch.from_dict(searched["arch"])

        use_threads(shared.threads)
        train_images, val_images = Images(dataset, "train"), Images(dataset, "val")
        net = build_supernet(space, len(train_images.classes))
        origin = load_weights(weights, net)
        in_supernet = Evaluator(train_images, val_images, shared.bn_images, seed).top1(net, arch)
        path = files.specialized(name)
        save_network(path, net.extract(arch), arch, origin)
        saved = saved_top1(path, dataset, "val", shared.threads)
        if abs(saved - in_supernet) > params.max_top1_change:
            path.unlink()
            raise ValueError(f"{path}: top-1 on val is {saved:.4f} as written, {in_supernet:.4f} in the super-network")
        cost = space.cost(arch, len(train_images.classes))
        metrics = {"split": "val", "top1": saved, "supernet_top1": in_supernet, "macs": cost.macs, "params": cost.params}
        metrics |= {key: searched[key] for key in ("predicted_top1", "predicted_latency_ms")}
        files.write_json(files.report("specialize", name), metrics)


if __name__ == "__main__":
    exit_cleanly(main)
