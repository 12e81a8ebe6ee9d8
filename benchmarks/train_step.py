"""Times one training step of a once-for-all super-network: ours against a plain version of the published method.

    python -m benchmarks.train_step [--space ofa_mbv3] [--width-mult 1.0] [--sizes 32x64 128x16] [--threads 1] [--rounds 15]

A step samples a sub-network, runs forward and backward, and steps the optimiser. The plain version keeps feature maps in NCHW.
In every call it slices and copies the weights of each layer and transforms its kernels. It convolves with torch's operator.
Both start from the same weights and draw the same sub-networks. Their gradients must agree: the largest difference, relative to
the largest gradient of the tensor, must be below 1e-4, or else the benchmark stops. Rounds alternate. It prints medians.
"""

import argparse
import copy
import statistics
import time
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ofa_core.nn import build_supernet
from ofa_core.nn.network import SuperNetwork
from ofa_core.space.base import Space
from ofa_core.space.layers import Activation, Layer
from ofa_core.space.registry import get_space

CLASSES = 1000
NOISE = 1e-6
"""Tensors whose largest gradient is below this have a zero gradient, apart from rounding."""


class PlainNetwork:
    """The super-network as the paper describes it. Parameters have our names. Layers run one after the other."""

    def __init__(self, net: SuperNetwork) -> None:
        self.active = list(net.active)
        self.parameters = {name: p.detach().clone().contiguous().requires_grad_() for name, p in net.named_parameters()}
        self.buffers = {name: b.clone() for name, b in net.named_buffers()}

    def __call__(self, x: Tensor) -> Tensor:
        for layer in self.active:
            name = f"parts.{layer.name}"
            if layer.kind == "conv":
                x = self._act(self._conv(f"{name}.conv", x, layer.out, layer.stride), layer.act)
            elif layer.kind == "mbconv":
                x = self._mbconv(name, x, layer)
            elif layer.kind == "avgpool":
                x = F.adaptive_avg_pool2d(x, 1).flatten(1)
            else:
                weight = self.parameters[f"{name}.weight"][: layer.out, : layer.inp].contiguous()
                bias = self.parameters[f"{name}.bias"] if layer.bias else None
                x = self._act(F.linear(x, weight, bias), layer.act)
        return x

    def _mbconv(self, name: str, x: Tensor, layer: Layer) -> Tensor:
        y = x
        if layer.mid != layer.inp:
            y = self._act(self._conv(f"{name}.expand", y, layer.mid), layer.act)
        weight = self._kernel(f"{name}.depthwise", layer.kernel, layer.mid)
        y = F.conv2d(y, weight, stride=layer.stride, padding=layer.kernel // 2, groups=layer.mid)
        y = self._act(self._norm(f"{name}.depthwise.bn", y), layer.act)
        if layer.se:
            gate = F.adaptive_avg_pool2d(y, 1)
            gate = F.relu(self._biased(f"{name}.se.reduce", gate, layer.se))
            y = y * F.hardsigmoid(self._biased(f"{name}.se.expand", gate, layer.mid))
        y = self._conv(f"{name}.project", y, layer.out)
        return x + y if layer.residual else y

    def _kernel(self, name: str, kernel: int, channels: int) -> Tensor:
        """The kernel of a size: from 7 downwards, the centre of the next larger kernel times its matrix."""
        weight = self.parameters[f"{name}.weight"][:channels]
        for large, small in ((7, 5), (5, 3)):
            if weight.shape[-1] == large and kernel < large:
                centre = weight[:, :, 1:-1, 1:-1].contiguous().view(channels, -1)
                weight = F.linear(centre, self.parameters[f"{name}.matrix_{large}to{small}"]).view(channels, 1, small, small)
        return weight.contiguous()

    def _conv(self, name: str, x: Tensor, out: int, stride: int = 1) -> Tensor:
        weight = self.parameters[f"{name}.weight"][:out, : x.shape[1]].contiguous()
        return self._norm(f"{name}.bn", F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2))

    def _biased(self, name: str, x: Tensor, out: int) -> Tensor:
        weight = self.parameters[f"{name}.weight"][:out, : x.shape[1]].contiguous()
        return F.conv2d(x, weight, self.parameters[f"{name}.bias"][:out].contiguous())

    def _norm(self, name: str, x: Tensor) -> Tensor:
        c = x.shape[1]
        mean, var = self.buffers[f"{name}.running_mean"][:c], self.buffers[f"{name}.running_var"][:c]
        weight, bias = self.parameters[f"{name}.weight"][:c], self.parameters[f"{name}.bias"][:c]
        return F.batch_norm(x, mean, var, weight, bias, training=True, momentum=0.1, eps=1e-5)

    def _act(self, x: Tensor, act: Activation) -> Tensor:
        return {"relu": F.relu, "relu6": F.relu6, "h_swish": F.hardswish, "none": lambda y: y}[act](x)


def random_layers(space: Space, rng: np.random.Generator, resolution: int) -> list[Layer]:
    """The layers of a random sub-network at a resolution."""
    return space.layers(replace(space.sample(rng), r=resolution), CLASSES)


def gradient_difference(net: SuperNetwork, plain: PlainNetwork, x: Tensor, labels: Tensor, layers: list[Layer]) -> float:
    """The largest difference between gradients of one sub-network, relative to the largest gradient of the tensor.

    Gradients that are zero apart from rounding do not count. Example: a shift before another batch norm only has noise of 1e-8.
    """
    for model, maps in ((net, x.contiguous(memory_format=torch.channels_last)), (plain, x)):
        model.active = layers
        F.cross_entropy(model(maps), labels).backward()
    worst = 0.0
    for name, parameter in net.named_parameters():
        found, expected = parameter.grad, plain.parameters[name].grad
        if (found is None) != (expected is None):
            raise SystemExit(f"{name}: only one of the two has a gradient")
        if found is not None and expected is not None:
            largest = float(expected.abs().max())
            worst = max(worst, float((found - expected).abs().max()) / largest) if largest > NOISE else worst
            parameter.grad = plain.parameters[name].grad = None
    return worst


def step(
    model: SuperNetwork | PlainNetwork, optimiser: torch.optim.Optimizer, x: Tensor, labels: Tensor, space: Space, seed: int
) -> float:
    """Seconds of one training step of the sub-network that `seed` draws."""
    started = time.perf_counter()
    model.active = random_layers(space, np.random.default_rng(seed), x.shape[-1])
    optimiser.zero_grad()
    F.cross_entropy(model(x), labels).backward()
    optimiser.step()
    return time.perf_counter() - started


def compare(space: Space, resolution: int, batch: int, rounds: int) -> str:
    """Times both at one size. Returns a line of results."""
    torch.manual_seed(0)
    net = build_supernet(space, CLASSES).train()
    plain = PlainNetwork(net)
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x, labels = torch.randn(batch, 3, resolution, resolution), torch.randint(CLASSES, (batch,))
    drawn = [random_layers(space, np.random.default_rng(1000 + i), resolution) for i in range(3)]
    # Compare in double precision: in either network, batch norms over a few values magnify the rounding of single precision.
    exact = copy.deepcopy(net).double()
    difference = max(gradient_difference(exact, PlainNetwork(exact), x.double(), labels, layers) for layers in drawn)
    if difference > 1e-4:
        raise SystemExit(f"gradients differ by {difference:.1e}")
    runs = [
        (
            net,
            torch.optim.SGD(net.parameters(), 1e-3, momentum=0.9, nesterov=True),
            x.contiguous(memory_format=torch.channels_last),
        ),
        (plain, torch.optim.SGD(plain.parameters.values(), 1e-3, momentum=0.9, nesterov=True), x),
    ]
    seconds = [
        [step(model, optimiser, maps, labels, space, seed) for model, optimiser, maps in runs] for seed in range(rounds + 1)
    ]
    ours, theirs = zip(*seconds[1:], strict=True)  # the first round warms up
    ratio = statistics.median(b / a for a, b in seconds[1:])
    return (
        f"{resolution} px, batch {batch}: ours {batch / statistics.median(ours):.1f} images/s, plain "
        f"{batch / statistics.median(theirs):.1f}, ratio {ratio:.2f}, gradients differ by {difference:.0e}"
    )


def main() -> None:
    """Reads the command line, compares, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="ofa_mbv3")
    parser.add_argument("--width-mult", type=float, default=1.0)
    parser.add_argument("--sizes", nargs="+", default=["32x64", "128x16"], help="resolution x batch")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"{args.space}, width {args.width_mult}, {args.threads} thread(s), medians of {args.rounds} rounds")
    for size in args.sizes:
        resolution, batch = (int(part) for part in size.split("x"))
        print(compare(get_space(args.space, args.width_mult), resolution, batch, args.rounds), flush=True)


if __name__ == "__main__":
    main()
