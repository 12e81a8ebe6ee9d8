"""A linear classifier on frozen features: what it is fitted to, and that the better network is kept."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional

from ofa_core.nn import build_supernet
from ofa_core.nn.network import SuperNetwork
from ofa_core.space.registry import get_space
from ofa_core.training.evaluation import Evaluator
from ofa_core.training.images import Images
from ofa_core.training.linear import PENALTIES, Linear, fit_classifier
from ofa_core.training.params import TrainSupernetParams

SPACE = get_space("ofa_small", 0.5, (20, 24))


@pytest.fixture
def fitting(dataset: Path) -> tuple[SuperNetwork, Evaluator]:
    torch.manual_seed(0)
    return build_supernet(SPACE, 10), Evaluator(Images(dataset, "train"), Images(dataset, "val"), 64, seed=0)


def test_it_is_the_logistic_regression_of_the_features(fitting: tuple[SuperNetwork, Evaluator]) -> None:
    """At the minimum, the gradient of the loss is that of the penalty. Only the classifier has changed."""
    net, evaluator = fitting
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    penalty = fit_classifier(net, evaluator, 24, mirrored=False)
    assert penalty in PENALTIES
    changed = {name for name, tensor in net.named_parameters() if not torch.equal(tensor, before[name])}
    assert changed == {"parts.classifier.weight", "parts.classifier.bias"}

    found = list[torch.Tensor]()
    hook = net.parts["classifier"].register_forward_pre_hook(lambda module, inputs: found.append(inputs[0]))
    images = evaluator.train.batches(24, 500)
    with torch.no_grad():
        logits = torch.cat([net(pixels_to_input(pixels)) for pixels, _ in images])
    hook.remove()
    features, labels = torch.cat(found), torch.from_numpy(evaluator.train.labels)
    deviation = features.std(0) + 1e-6
    errors = logits.softmax(1) - functional.one_hot(labels, 10)  # (n, 10)
    gradient = errors.T @ ((features - features.mean(0)) / deviation) / len(labels)  # by weights of standardised features
    weight = net.state_dict()["parts.classifier.weight"] * deviation
    torch.testing.assert_close(gradient, -penalty * weight, rtol=0, atol=2e-3)


def pixels_to_input(pixels: torch.Tensor) -> torch.Tensor:
    return pixels.permute(0, 3, 1, 2).float().expand(-1, 3, -1, -1) / 127.5 - 1


def test_the_better_one_is_kept(fitting: tuple[SuperNetwork, Evaluator]) -> None:
    net, evaluator = fitting
    linear = Linear.fit(net, evaluator, mirrored=True)
    assert linear.top1 > 0.2  # of random features and 320 images; guessing is 0.1
    good = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with torch.no_grad():
        net.parts["first_conv"].get_parameter("conv.weight").mul_(-1)  # a training that went wrong
    report = linear.keep_better(net, evaluator)
    assert (report["kept"], report["linear_top1"]) == ("linear", linear.top1)
    assert report["fine_tuned_top1"] < linear.top1
    assert all(torch.equal(tensor, good[name]) for name, tensor in net.state_dict().items())
    assert linear.keep_better(net, evaluator)["kept"] == "linear"  # equal: training gained nothing


def test_it_needs_weights_to_start_from() -> None:
    with pytest.raises(ValueError, match="linear: true: needs init"):
        TrainSupernetParams(epochs=1, warmup_epochs=0, lr=0.1, init=None, init_md5=None, linear=True)
    with pytest.raises(ValueError, match="init_md5: goes with a path"):
        TrainSupernetParams(epochs=1, warmup_epochs=0, lr=0.1, init="efficientnet_lite0", init_md5="0" * 32, linear=True)
