"""Fine-tuning of searched networks: what teaches them, what is trained, and what its parameters refuse."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ofa_core.nn.network import Network
from ofa_core.nn.weights import describe, save_weights
from ofa_core.run.params import parse
from ofa_core.specialize.fine_tuning import FineTuning, load_teacher
from ofa_core.specialize.params import SpecializeParams
from ofa_core.training.distributed import ALONE
from ofa_core.training.evaluation import Evaluator
from ofa_core.training.images import Images
from ofa_core.training.metrics import cost
from tests.small_training import RARELY, SHARED, SPACE, fresh, state_bytes

ARCH = SPACE.smallest(20)
PARAMS = SpecializeParams(
    max_top1_change=0.001, epochs=1, warmup_epochs=0, lr=0.02, teacher="full", distill_weight=1.0, quantization="both",
    delay=0.3, ranges="learned",
)  # fmt: skip


def evaluator_of(dataset: Path) -> Evaluator:
    return Evaluator(Images(dataset, "train"), Images(dataset, "val"), SHARED.bn_images, 0)


def tuning_of(dataset: Path, net: Network | None, **changes: object) -> FineTuning:
    """Fine-tuning by `net`, or by labels alone."""
    return FineTuning(
        evaluator=evaluator_of(dataset), teacher=net, params=replace(PARAMS, **changes), shared=SHARED, machine=RARELY,
        phase="demo", seed=0, group=ALONE,
    )  # fmt: skip


def test_fine_tuning_improves_a_sub_network(dataset: Path, tmp_path: Path) -> None:
    """A sub-network of a barely trained super-network learns the train images when it trains alone."""
    net = fresh()
    alone, others = net.extract(ARCH), state_bytes(net)
    progress = tuning_of(dataset, None, epochs=10, lr=0.05).fine_tune(alone, tmp_path)
    assert progress.history[-1]["loss"] < 0.8 * progress.history[0]["loss"]
    assert 0 < progress.seconds < 600
    assert cost(3600.0, ALONE) == {"cpu_core_hours": torch.get_num_threads()}
    assert state_bytes(net) == others


def test_each_teacher_is_what_its_name_says(dataset: Path, tmp_path: Path) -> None:
    before, after, evaluator = fresh(0), fresh(1), evaluator_of(dataset)
    full, shrunk = tmp_path / "full.safetensors", tmp_path / "last.safetensors"
    for path, net in ((full, before), (shrunk, after)):
        save_weights(path, net, describe(net, SPACE))

    def teacher(**changes: object) -> Network | None:
        return load_teacher(replace(PARAMS, **changes), fresh(2), full, shrunk, evaluator, ARCH.r)

    assert teacher(teacher="none") is None
    assert teacher(epochs=0, quantization="post") is None  # nothing to teach
    as_trained, measured = teacher(teacher="full"), teacher(teacher="shrunk")
    assert as_trained is not None
    assert measured is not None
    assert state_bytes(as_trained) == state_bytes(before.extract(SPACE.largest()))
    assert measured.active == SPACE.layers(SPACE.largest(ARCH.r), 10)
    assert not as_trained.training
    assert not measured.training
    expected = after.extract(SPACE.largest(ARCH.r))
    assert state_bytes(measured) != state_bytes(expected)  # its statistics were those of no images
    evaluator.calibrate(expected, ARCH.r)
    assert state_bytes(measured) == state_bytes(expected)


def test_what_teaches_decides_what_is_learnt(dataset: Path, tmp_path: Path) -> None:
    """Equal images, other targets: labels alone and either teacher end with different weights; the teacher stays as it was."""
    results = set()
    for i, net in enumerate((None, fresh(1).extract(SPACE.largest(20)).eval(), fresh(2).extract(SPACE.largest(20)).eval())):
        kept = None if net is None else state_bytes(net)
        (work := tmp_path / str(i)).mkdir()
        module, _ = tuning_of(dataset, net).specialize(fresh().extract(ARCH), "post", work)
        results.add(state_bytes(module))
        assert net is None or state_bytes(net) == kept
    assert len(results) == 3


def test_parameters_are_checked() -> None:
    good = {"max_top1_change": 0.001, "epochs": 1, "warmup_epochs": 0, "lr": 0.1, "teacher": "shrunk", "distill_weight": 1}
    good |= {"quantization": "both", "delay": 0.5, "ranges": "learned"}
    assert parse(SpecializeParams, good, "specialize").delay == 0.5
    assert parse(SpecializeParams, good | {"teacher": "none", "distill_weight": 0}, "specialize").teacher == "none"
    ignored = "specialize.distill_weight: 0 ignores teacher {}; for labels only, use teacher none"
    for change, message in (
        ({"quantization": "int4"}, "specialize.quantization: 'int4': input should be 'post', 'aware' or 'both'"),
        ({"delay": 1}, "specialize.delay: 1: input should be less than 1"),
        ({"ranges": "guessed"}, "specialize.ranges: 'guessed': input should be 'observed' or 'learned'"),
        ({"epochs": 0}, "specialize.quantization: both needs epochs to train for, not 0"),
        ({"teacher": "in_place"}, "specialize.teacher: 'in_place': input should be 'shrunk', 'full' or 'none'"),
        ({"distill_weight": 0}, ignored.format("shrunk")),
        ({"distill_weight": 0, "teacher": "full"}, ignored.format("full")),
    ):
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            parse(SpecializeParams, good | change, "specialize")
