"""Stage specialize: a target's network on its own, fine-tuned if asked for, with statistics of its own, written and checked."""

import argparse

from ofa_core import files
from ofa_core.arch import Arch
from ofa_core.nn import build_supernet
from ofa_core.spaces import SpaceParams
from ofa_core.stage import exit_cleanly, running
from ofa_core.training.distributed import joined
from ofa_core.training.evaluation import Evaluator, top1, use_threads
from ofa_core.training.images import Images
from ofa_core.training.params import SpecializeParams, TrainingParams
from ofa_core.training.report import cost
from ofa_core.training.specialize import fine_tune, saved_top1
from ofa_core.training.weights import load_full, load_weights, save_network


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
        weights, full = stage.input(files.supernet(last)), stage.input(files.supernet("full"))
        dataset = stage.input(files.DATASET)
        searched = files.read_json(stage.input(files.searched(name)))
        arch = Arch.from_dict(searched["arch"])

        use_threads(shared.threads)
        train_images, val_images = Images(dataset, "train"), Images(dataset, "val")
        evaluator = Evaluator(train_images, val_images, shared.bn_images, seed)
        supernet = build_supernet(space, len(train_images.classes), shared.dropout)
        teacher = load_full(full, supernet)
        origin = load_weights(weights, supernet)
        metrics = {"split": "val", "supernet_top1": evaluator.top1(supernet, arch)}
        net = supernet.extract(arch)
        with joined(shared.device) as group, stage.work_folder(group.is_first) as work:
            if params.epochs:
                progress = fine_tune(
                    net, arch.r, train_images, teacher, params, shared, phase=stage.name, seed=seed, work=work, group=group
                )
                metrics |= cost(progress.seconds, group)
            if not group.is_first:
                return
            evaluator.calibrate(net, arch.r)
            expected, path = top1(net, evaluator.val_batches(arch.r)), files.specialized(name)
            save_network(path, net, arch, origin)
        saved = saved_top1(path, dataset, "val", shared.threads)
        if abs(saved - expected) > params.max_top1_change:
            path.unlink()
            raise ValueError(f"{path}: top-1 on val is {saved:.4f} as written, {expected:.4f} in memory")
        size = space.cost(arch, len(train_images.classes))
        metrics |= {"top1": saved, "macs": size.macs, "params": size.params}
        metrics |= {key: searched[key] for key in ("predicted_top1", "predicted_latency_ms")}
        files.write_json(files.report("specialize", name), metrics)


if __name__ == "__main__":
    exit_cleanly(main)
