"""Stage specialize: extracts a target's network, fine-tunes it if asked for, recalibrates its statistics, and checks it."""

import argparse
from typing import Any

from ofa_core.nn import build_supernet
from ofa_core.nn.weights import load_weights
from ofa_core.run import files, paths
from ofa_core.run.stage import exit_cleanly, running
from ofa_core.space.arch import Arch
from ofa_core.space.params import SpaceParams
from ofa_core.specialize.fine_tuning import FineTuning, load_teacher, save_checked
from ofa_core.specialize.params import SpecializeParams
from ofa_core.training.distributed import joined
from ofa_core.training.evaluation import Evaluator, use_threads
from ofa_core.training.images import Images
from ofa_core.training.metrics import cost
from ofa_core.training.params import TrainingParams


def main() -> None:
    """Writes build/specialized/TARGET/ and its report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", required=True, help="a name under search.targets")
    name = parser.parse_args().target
    with running(f"specialize@{name}") as stage:
        seed = stage.params.read("seed", int)
        space = stage.params.read("space", SpaceParams).build()
        shared, machine = stage.params.read("training", TrainingParams), stage.machine()
        params = stage.params.read("specialize", SpecializeParams)
        last = stage.params.read("shrink.last", str)
        weights, full = stage.input(paths.supernet(last)), stage.input(paths.supernet("full"))
        dataset = stage.input(paths.DATASET)
        chosen = files.read_json(stage.input(paths.chosen(name)))
        arch = Arch.from_dict(chosen["arch"])

        use_threads(shared.threads)
        evaluator = Evaluator(Images(dataset, "train"), Images(dataset, "val"), shared.bn_images, seed)
        supernet = build_supernet(space, len(evaluator.train.classes))
        teacher = load_teacher(params, supernet, full, weights, evaluator, arch.r)
        origin = load_weights(weights, supernet)
        start, report = supernet.extract(arch), dict[str, Any](split="val")
        with joined(shared.device) as group, stage.work_folder(group.is_first) as work:
            if group.is_first:
                report |= {"supernet_top1": evaluator.subnet_score(supernet.to(group.device), arch)}
            tuning = FineTuning(
                evaluator=evaluator, teacher=teacher, params=params, shared=shared, machine=machine,
                phase=stage.name, seed=seed, group=group,
            )  # fmt: skip
            found, seconds = tuning.specialize_all(start, work)
            if not group.is_first:
                return
            if seconds:
                report |= cost(seconds, group) | {"teacher": params.teacher}
            with files.replacing_folder(paths.specialized(name)) as new:
                for kind, module in found.items():
                    path = new / paths.specialized_file(name, kind).name
                    top1 = save_checked(path, module, arch, origin, evaluator, dataset, params.max_top1_change, shared.threads)
                    report |= {"top1" if "top1" not in report else f"{kind}_top1": top1}
        size = space.cost(arch, supernet.num_classes)
        report |= {"quantization": params.quantization, "macs": size.macs, "params": size.params}
        stage.write_report(report | {key: chosen[key] for key in ("predicted_top1", "predicted_latency_ms")})


if __name__ == "__main__":
    exit_cleanly(main)
