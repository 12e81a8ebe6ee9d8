"""Stage distill_detector: fine-tunes a target's detector alone, on labels, pseudo-labels or both."""

import argparse

from ofa_core.detector_tuning.params import DistillDetectorParams
from ofa_core.detector_tuning.pseudo_labels import joined as joined_splits
from ofa_core.detector_tuning.pseudo_labels import labelled, read_results, with_boxes
from ofa_core.detectors.optimizers import OPTIMIZERS
from ofa_core.detectors.params import DetectorParams, TrainDetectorParams
from ofa_core.detectors.splits import box_images, load_evaluator
from ofa_core.images.boxes import load_boxes
from ofa_core.nn import build_supernet
from ofa_core.nn.network import Network
from ofa_core.nn.weights import load_weights, save_network
from ofa_core.run import files, paths
from ofa_core.run.stage import exit_cleanly, running
from ofa_core.space.arch import Arch
from ofa_core.space.params import SpaceParams
from ofa_core.specialize.fine_tuning import FineTuning
from ofa_core.training.distributed import joined
from ofa_core.training.evaluation import Evaluator, use_threads
from ofa_core.training.metrics import cost
from ofa_core.training.params import TrainingParams


def main() -> None:
    """Writes build/detector/TARGET/post.safetensors and its report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", required=True, help="a name under search_detector.targets")
    name = parser.parse_args().target
    with running(f"distill_detector@{name}") as stage:
        seed, machine = stage.params.read("seed", int), stage.machine()
        design = stage.params.read("detector", DetectorParams).design(stage.params.read("space", SpaceParams))
        elastic = stage.params.read("train_detector", TrainDetectorParams)
        shared = elastic.of(stage.params.read("training", TrainingParams))
        params = stage.params.read("distill_detector", DistillDetectorParams)
        weights, dataset = stage.input(paths.DETECTOR_SUPERNET), stage.input(paths.DETECTION)
        pseudo = read_results(stage.input(paths.PSEUDO_LABELS))
        arch = Arch.from_dict(files.read_json(stage.input(paths.chosen_detector(name)))["arch"])

        use_threads(shared.threads)
        evaluator = load_evaluator(dataset, design, shared.bn_images, seed)
        net = build_supernet(design.space, len(evaluator.train.classes))
        origin = load_weights(weights, net)
        before = evaluator.subnet_score(net, arch)
        images = load_boxes(dataset, "train")
        if params.learn_from != "labels":
            found = with_boxes(labelled(load_boxes(dataset, "unlabelled"), pseudo, 0.0, str(paths.PSEUDO_LABELS)))
            images = found if params.learn_from == "pseudo_labels" else joined_splits(images, found)
        learned = Evaluator(box_images(images, design), evaluator.val, shared.bn_images, seed)
        with joined(shared.device) as group, stage.work_folder(group.is_first) as work:
            tuning = FineTuning(
                evaluator=learned, teacher=None, params=params.tuning, shared=shared, machine=machine, phase=stage.name,
                seed=seed, group=group, optimizer=OPTIMIZERS[elastic.optimizer],
            )  # fmt: skip
            tuned, seconds = tuning.specialize(net.extract(arch), "post", work)
            if group.is_first:
                assert isinstance(tuned, Network)
                score = learned.score(tuned, arch.r)
                save_network(paths.tuned_detector(name, "post"), tuned, arch, origin)
                report = {"map": score, "supernet_map": before, "split": "val", "images": len(images.images)}
                stage.write_report(report | {"learn_from": params.learn_from} | cost(seconds, group))


if __name__ == "__main__":
    exit_cleanly(main)
