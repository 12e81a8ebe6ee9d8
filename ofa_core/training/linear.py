"""A linear classifier on the features of a network whose other weights stay as they are.

With few images it is hard to beat, and with many it is where fine-tuning starts best (Kumar et al. 2022,
https://arxiv.org/abs/2202.10054, section 3: a random classifier's gradients distort the features first).
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ofa_core.nn.folding import FoldedNetwork
from ofa_core.nn.inputs import to_input
from ofa_core.nn.network import CLASSIFIER, SuperNetwork
from ofa_core.training.evaluation import Evaluator, eval_batch
from ofa_core.training.images import LabelledImages

PENALTIES = (1e-1, 1e-2, 1e-3, 1e-4)
"""L2 penalties on the weights of standardised features that are tried, each from the result before; the best on val is kept."""
STEPS = 100
"""Most steps of L-BFGS for one penalty."""


class Linear(NamedTuple):
    """A full network with a fitted classifier. penalty: the one kept. top1: on val (0..1), mean over the space's resolutions.
    state: the weights."""

    penalty: float
    top1: float
    state: dict[str, Tensor]

    @classmethod
    def fit(cls, net: SuperNetwork, evaluator: Evaluator, mirrored: bool) -> "Linear":
        """Fits the classifier in place at the largest resolution; see `fit_classifier`."""
        penalty = fit_classifier(net, evaluator, net.space.resolutions[-1], mirrored)
        state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
        return cls(penalty, _top1(net, evaluator), state)

    def keep_better(self, net: SuperNetwork, evaluator: Evaluator) -> dict[str, Any]:
        """Loads these weights into a network that was trained since, unless that is better on val. Returns what was found.

        All resolutions count: a classifier is fitted at the largest, and shrinking trains at all of them.
        """
        trained = {name: tensor.clone() for name, tensor in net.state_dict().items()}
        top1 = _top1(net, evaluator)
        better = top1 > self.top1
        net.load_state_dict(trained if better else self.state)
        found = {"linear_top1": self.top1, "fine_tuned_top1": top1, "linear_penalty": self.penalty}
        return found | {"kept": "fine_tuned" if better else "linear"}


def _top1(net: SuperNetwork, evaluator: Evaluator) -> float:
    """Of the full network on val, 0..1: the mean over the space's resolutions."""
    archs = {str(resolution): net.space.largest(resolution) for resolution in net.space.resolutions}
    scores = evaluator.subnet_scores(net, archs).values()
    return sum(scores) / len(scores)


def fit_classifier(net: SuperNetwork, evaluator: Evaluator, resolution: int, mirrored: bool) -> float:
    """Fits the classifier of the full network at a resolution, in place, by logistic regression on frozen features.

    mirrored: whether mirror images are trained on as well. Batch norm statistics are those of the train images, as in every
    evaluation. The full network is then active, in eval mode. Returns the penalty that was kept: the best on val, and of
    equally good ones the largest.
    """
    net.set_active(net.space.largest(resolution))
    evaluator.calibrate(net, resolution)
    train, labels = features(net, evaluator.train, resolution, mirrored)
    val, val_labels = features(net, evaluator.val, resolution)
    mean, deviation = train.mean(0), train.std(0) + 1e-6  # (C,)
    train, val = ((x - mean) / deviation for x in (train, val))
    weight, bias = torch.zeros(net.num_classes, train.shape[1]), torch.zeros(net.num_classes)
    best = -1.0, PENALTIES[0], weight, bias
    for penalty in PENALTIES:
        weight, bias = _logistic_regression(train, labels, penalty, weight, bias)
        top1 = float(((val @ weight.T + bias).argmax(1) == val_labels).float().mean())
        if top1 > best[0]:
            best = top1, penalty, weight, bias
    _, penalty, weight, bias = best
    classifier = net.parts[CLASSIFIER].state_dict()
    classifier["weight"].copy_(weight / deviation)
    classifier["bias"].copy_(bias - (weight / deviation) @ mean)
    return penalty


@torch.inference_mode()
def features(net: SuperNetwork, images: LabelledImages, resolution: int, mirrored: bool = False) -> tuple[Tensor, Tensor]:
    """What the full network's classifier would read (n, C) for all images at a resolution, and their labels (n,).

    mirrored: whether the same for their mirror images follows. Batch norm statistics are those in `net`.
    """
    alone = net.extract(net.space.largest(resolution)).eval()
    alone.active = alone.active[:-1]
    run, device = FoldedNetwork(alone), next(net.parameters()).device
    found, labels = list[Tensor](), list[Tensor]()
    for flipped in (False, True)[: 1 + mirrored]:
        for pixels, truth in images.batches(resolution, eval_batch(resolution)):
            x = to_input(pixels.flip(2) if flipped else pixels, net.normalization)
            found.append(run(x.to(device).contiguous(memory_format=torch.channels_last)).cpu())
            labels.append(truth)
    return torch.cat(found), torch.cat(labels)


def _logistic_regression(x: Tensor, labels: Tensor, penalty: float, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (classes, C) and bias (classes,) of least cross entropy plus `penalty` / 2 times the squared weights.

    x: (n, C). weight, bias: where to start.
    """
    x, labels = x.clone(), labels.clone()  # not inference tensors
    weight, bias = weight.clone().requires_grad_(), bias.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=STEPS, tolerance_change=1e-7, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(x @ weight.T + bias, labels) + penalty / 2 * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return weight.detach(), bias.detach()
