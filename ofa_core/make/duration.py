"""How long each stage of a run takes on this machine: the one formula behind "about N minutes".

Training, the part that grows, is counted in images that pass a network, times the measured seconds of an image. What a stage
needs besides (starting Python, importing TensorFlow, converting files) hardly depends on the photos: `STARTS`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

FORWARD = 1 / 3
"""Share of a training step that its forward pass takes. The backward pass computes two gradients of the same size."""
EXAMINED = 160
"""Pixels of the smallest images in the stage examine."""
STARTS = {
    "prepare": 0.8,
    "fetch_weights": 1.5,
    "train": 2.5,  # train_supernet, shrink, collect_accuracies
    "measure": 3.0,  # build_latency_table, choose
    "layer_file": 0.06,  # one layer as a file, alone or in a network
    "fit_predictor": 1.5,
    "search": 2.0,
    "specialize": 3.0,
    "export": 2.0,
    "export_layer": 1.05,  # of every layer of the network
    "evaluate": 1.5,
    "train_baselines": 1.5,
    "compare": 5.0,
    "checksum": 0.8,
}
"""What stages need whatever the photos, in starts of a Python that imports torch, `Speed.start`: a slower or busier machine
needs more of both. Measured with ofa_small at 32 pixels and ofa_lite at 128 on two cores (AMD EPYC, 2.6 GHz)."""


@dataclass(frozen=True, kw_only=True)
class Speed:
    """What was measured here.

    per_image: seconds of a training step for each image at the largest resolution, forward and backward, of the smallest, the
    middle and the largest network (the keys). input: seconds to crop, colour and resize an image to it. update: seconds to
    change the weights once. start: seconds to start Python and import torch.
    """

    per_image: Mapping[str, float]
    input: float
    update: float
    start: float


@dataclass(frozen=True, kw_only=True)
class Amounts:
    """What is worked on: images of train, val and test; layers: distinct ones of the space; depth: layers of the largest
    network; seconds of one core to decode one image, and cores."""

    train: int
    val: int
    test: int
    layers: int
    depth: int
    decode_seconds: float
    cores: int


def stage_seconds(params: Mapping[str, Any], amounts: Amounts, speed: Speed) -> dict[str, float]:
    """Seconds by stage, named and ordered as `dvc repro` runs them.

    params: the content of a complete parameter file.
    """
    work = _Work(params, amounts, speed)
    devices, targets = params["build_latency_table"]["devices"], params["search"]["targets"]
    images = amounts.train + amounts.val + amounts.test
    found = {"prepare": work.fixed("prepare") + images * amounts.decode_seconds / max(1, amounts.cores)}
    found["fetch_weights"] = work.fixed("fetch_weights")
    found["examine"] = work.fixed("prepare")
    if params["train_supernet"]["init"] is not None:
        found["examine"] = work.fixed("train") + images * work.features()
    found |= {f"build_latency_table@{name}": work.table(device) for name, device in devices.items()}
    found["train_supernet"] = work.full()
    found |= {f"shrink@{name}": work.phase(phase) for name, phase in params["shrink"]["phases"].items()}
    measured = params["collect_accuracies"]["architectures"]
    found["collect_accuracies"] = work.fixed("train") + measured * work.evaluation("middle", amounts.val)
    found["fit_predictor"] = work.fixed("fit_predictor")
    found["search"] = work.fixed("search") * max(1, len(targets) / 3)
    found["choose"] = work.choice(len(targets))
    found |= {f"specialize@{name}": work.tuning(target) for name, target in targets.items()}
    found |= {f"export@{name}": work.fixed("export") + amounts.depth * work.fixed("export_layer") for name in targets}
    found |= {f"evaluate@{name}": work.fixed("evaluate") + work.evaluation("middle", amounts.test) for name in targets}
    found["train_baselines"] = work.fixed("train_baselines")
    # The smallest, the middle and the largest sub-network, shrunk and cut, on two splits.
    three = sum(work.evaluation(role, amounts.val) + work.evaluation(role, amounts.test) for role in speed.per_image)
    found["compare"] = work.fixed("compare") + 2 * three
    return found | {"checksum": work.fixed("checksum")}


class _Work:
    """Seconds of parts of the work."""

    def __init__(self, params: Mapping[str, Any], amounts: Amounts, speed: Speed) -> None:
        self.params, self.amounts, self.speed = params, amounts, speed
        sizes = np.array(params["space"]["resolutions"], dtype=float)
        self.mean_area = float(np.mean((sizes / sizes.max()) ** 2))
        """The mean share of the largest resolution's pixels."""

    def fixed(self, what: str) -> float:
        """A key of `STARTS` in seconds."""
        return STARTS[what] * self.speed.start

    def image(self, role: str) -> float:
        """Forward and backward pass of one network for one image, at the mean resolution."""
        return self.speed.per_image[role] * self.mean_area

    def network_file(self) -> float:
        """One whole network as a file."""
        return self.amounts.depth * self.fixed("layer_file")

    def features(self) -> float:
        """The full network on one image, enlarged as the stage examine does."""
        largest = max(self.params["space"]["resolutions"])
        return FORWARD * self.speed.per_image["largest"] * max(1.0, (EXAMINED / largest) ** 2)

    def training(self, epochs: float, per_image: float, subnets: int = 1) -> float:
        """Steps with `per_image` seconds for each image, which is made anew for each of the sub-networks."""
        batch = self.params["training"]["batch_size"]
        per_image += subnets * self.speed.input * self.mean_area
        steps = max(1, round(epochs * (self.amounts.train // batch)))
        return steps * (batch * per_image + self.speed.update)

    def evaluation(self, role: str, images: int) -> float:
        """One network on `images`, its batch norm statistics measured first, at the mean resolution."""
        statistics = min(self.params["training"]["bn_images"], self.amounts.train)
        return (images + statistics) * FORWARD * self.image(role)

    def full(self) -> float:
        epochs = self.params["train_supernet"]["epochs"]
        ends = len(self.params["space"]["resolutions"]) * self.evaluation("largest", self.amounts.val)
        return self.fixed("train") + self.training(epochs, self.image("largest")) + ends

    def phase(self, phase: Mapping[str, Any]) -> float:
        per_image = sum(role["subnets"] * self.image(name) for name, role in phase["roles"].items())
        if phase["teacher"] == "full":
            per_image += FORWARD * self.image("largest")
        corners = sum(self.evaluation(role, self.amounts.val) for role in self.speed.per_image)
        subnets = sum(role["subnets"] for role in phase["roles"].values())
        validations = int(phase["epochs"] / self.params["shrink"]["validate_epochs"]) + 2  # at the end, the two extremes
        return self.fixed("train") + self.training(phase["epochs"], per_image, subnets) + validations * corners

    def table(self, device: Mapping[str, Any]) -> float:
        if device["source"] == "file":
            return self.fixed("measure")
        timed = device["instances"] * device["milliseconds"] / 1000
        layers = self.amounts.layers * (self.fixed("layer_file") + timed)
        return self.fixed("measure") + layers + device["networks"] * (self.network_file() + timed)

    def choice(self, targets: int) -> float:
        candidates = self.params["search"]["candidates"] * targets
        networks = self.network_file() * candidates
        return self.fixed("measure") + networks + candidates * self.evaluation("middle", self.amounts.val)

    def tuning(self, target: Mapping[str, Any]) -> float:
        tuning, fraction = self.params["specialize"], target.get("fraction")
        low, middle, high = (self.image(role) for role in ("smallest", "middle", "largest"))
        per_image = middle if fraction is None else low * (high / low) ** fraction
        if tuning["teacher"] != "none":
            per_image += FORWARD * high
        training = self.training(tuning["epochs"], per_image) if tuning["epochs"] else 0.0
        return self.fixed("specialize") + training + 3 * self.evaluation("middle", self.amounts.val)
