"""A process of tests/accuracies/test_collect.py, which collects as the stage does: `python -m tests.accuracies.collecting
DATASET WORK OUT`. Under torchrun, several processes share the work."""

import sys
from pathlib import Path

from ofa_core.accuracies.collect import collect, collect_int8, spread
from ofa_core.accuracies.journal import Journal
from ofa_core.accuracies.sampling import sample_archs
from ofa_core.predictor.accuracy_table import Accuracies
from ofa_core.training.distributed import joined
from ofa_core.training.evaluation import Evaluator, use_threads
from ofa_core.training.images import Images
from tests.accuracies.test_sampling import latencies
from tests.small_training import SPACE, fresh

COUNT, INT8 = 12, 4


def main() -> None:
    """Writes the folder OUT; the journal is in WORK."""
    dataset, work, out = map(Path, sys.argv[1:])
    use_threads(1)
    evaluator = Evaluator(Images(dataset, "train"), Images(dataset, "val"), 64, seed=0)
    archs = sample_archs(SPACE, latencies, COUNT, seed=0)
    with joined("cpu") as group:
        journal, net = Journal(work, group.rank), fresh()
        rows = collect(net, evaluator, archs, journal, group)
        some = spread(latencies(*SPACE.encode(archs)), INT8)
        for i, top1 in zip(some, collect_int8(net, evaluator, [archs[i] for i in some], journal, group), strict=True):
            rows[i] = rows[i] | {"int8_top1": top1}
        if group.is_first:
            Accuracies.of(SPACE, archs, rows).write(out)


if __name__ == "__main__":
    main()
