"""The TensorFlow twin of a network: the same layer records and the same weights, as plain `tf.nn` operations.

A `tf.Module` of constants and not a Keras model: a Keras model's converted bytes depend on what the process built before.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from ofa_core.convert.folding import LayerWeights, fold
from ofa_core.convert.params import HardSwish
from ofa_core.convert.tensorflow import tf
from ofa_core.nn.network import Network
from ofa_core.space.layers import Activation, Layer


class Twin(tf.Module):
    """A network, or any run of its layers, for images of one size and batch 1.

    layers: the records in the order they run. weights: of every layer, by its name, as `folding.fold` gives them.
    hard_swish: "fused" converts to one HARD_SWISH operation, "composed" to ADD (ReLU6 fused) and two MULs. XNNPACK runs the
      composed form of an int8 network and leaves the fused one to slower kernels.
    softmax: whether the output is probabilities.

    What a file writes to memory are its activations, or points; `export.points` finds them by the scopes that are opened here.
    They are `image`; the output of every layer but a maxpool by its name; within a layer NAME.expand, NAME.depthwise,
    NAME.se.pool, NAME.se.reduce, NAME.se.expand (before the division by 6), NAME.se.gate, NAME.se (after the product);
    NAME.reduce, NAME.spatial, NAME.shortcut; NAME.conv, NAME.project or NAME.restore for what a residual is added to; and
    before the point P of a hard swish P.sum, and in the composed form P.sixth and P.gate.

    `function` takes image (1, r, r, inp) float32, (1, inp) where the first layer is linear, and returns {"probabilities": ...}
    or, without softmax, {"output": ...}: the names of the signature in a TFLite file.
    Raises ValueError for layers that do not fit each other, or weights of another shape.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        weights: Mapping[str, LayerWeights],
        *,
        hard_swish: HardSwish = "composed",
        softmax: bool = True,
    ) -> None:
        super().__init__(name="twin")
        if not layers:
            raise ValueError("twin: no layers")
        if hard_swish not in ("fused", "composed"):
            raise ValueError(f"hard_swish: {hard_swish!r} is not one of fused, composed")
        for before, layer in pairwise(layers):
            if (before.out, before.out_resolution) != (layer.inp, layer.resolution):
                raise ValueError(f"{layer.name}: does not take the output of {before.name}")
        self.layers, self.weights, self.hard_swish, self.softmax = tuple(layers), weights, hard_swish, softmax
        first = layers[0]
        self.input_shape = (1, first.inp) if first.kind == "linear" else (1, first.resolution, first.resolution, first.inp)
        self.function = tf.function(self._forward, input_signature=[tf.TensorSpec(self.input_shape, tf.float32, name="image")])
        self.concrete = self.function.get_concrete_function()

    def _forward(self, image: Any) -> Any:
        kinds = {"conv": self._conv_layer, "mbconv": self._mbconv, "bottleneck": self._bottleneck, "maxpool": self._maxpool,
                 "avgpool": self._avgpool, "linear": self._linear}  # fmt: skip
        x = image
        for layer in self.layers:
            with tf.name_scope(layer.name):
                x = kinds[layer.kind](x, layer)
        return {"probabilities": tf.nn.softmax(x)} if self.softmax else {"output": x}

    # One method a kind of layer: (1, H, W, inp) -> (1, H/stride, W/stride, out). A point is computed in the scope of its name.

    def _conv_layer(self, x: Any, layer: Layer) -> Any:
        y = self._conv(x, layer, "conv", layer.inp, layer.out, layer.kernel, layer.stride)
        if not layer.residual:
            return self._activate(y, layer.act, layer.name)
        return x + self._activate(y, layer.act, f"{layer.name}.conv")

    def _mbconv(self, x: Any, layer: Layer) -> Any:
        y, name = x, layer.name
        if layer.mid != layer.inp:
            y = self._activate(self._conv(x, layer, "expand", layer.inp, layer.mid), layer.act, f"{name}.expand")
        y = self._activate(self._depthwise(y, layer), layer.act, f"{name}.depthwise")
        if layer.se:
            y = self._squeeze_excite(y, layer)
        y = self._conv(y, layer, "project", layer.mid, layer.out)
        return x + y if layer.residual else y

    def _squeeze_excite(self, x: Any, layer: Layer) -> Any:  # (1, H, W, mid) -> (1, H, W, mid)
        with tf.name_scope("se/pool"):
            gate = tf.reduce_mean(x, axis=[1, 2], keepdims=True)  # (1, 1, 1, mid)
        gate = self._activate(self._conv(gate, layer, "se.reduce", layer.mid, layer.se), "relu", f"{layer.name}.se.reduce")
        gate = self._conv(gate, layer, "se.expand", layer.se, layer.mid)
        with tf.name_scope("se/expand"):
            gate = tf.nn.relu6(gate + 3.0)
        with tf.name_scope("se/gate"):
            gate *= 1 / 6  # hard sigmoid
        with tf.name_scope("se"):
            return x * gate

    def _bottleneck(self, x: Any, layer: Layer) -> Any:
        y = self._conv(x, layer, "reduce", layer.inp, layer.mid)
        y = self._activate(y, layer.act, f"{layer.name}.reduce")
        y = self._conv(y, layer, "spatial", layer.mid, layer.mid, layer.kernel, layer.stride)
        y = self._activate(y, layer.act, f"{layer.name}.spatial")
        y = self._conv(y, layer, "restore", layer.mid, layer.out)
        if not layer.residual:
            if layer.stride > 1:
                # SAME leaves the padding out of the mean, as torch's ceil_mode does.
                x = tf.nn.avg_pool2d(x, layer.stride, layer.stride, "SAME")
            x = self._conv(x, layer, "shortcut", layer.inp, layer.out)
        return self._activate(x + y, layer.act, layer.name)

    def _maxpool(self, x: Any, layer: Layer) -> Any:
        # Zeros may stand for torch's minus infinity: every maxpool of the spaces follows a ReLU.
        x, padding = _pad(x, layer)
        return tf.nn.max_pool2d(x, layer.kernel, layer.stride, padding)

    def _avgpool(self, x: Any, layer: Layer) -> Any:  # (1, H, W, C) -> (1, C)
        return tf.reduce_mean(x, axis=[1, 2])

    def _linear(self, x: Any, layer: Layer) -> Any:  # (1, inp) -> (1, out)
        y = tf.linalg.matmul(x, self._weight(layer, "kernel", (layer.inp, layer.out)))
        if layer.bias:
            y = tf.nn.bias_add(y, self._weight(layer, "bias", (layer.out,)))
        return self._activate(y, layer.act, layer.name)

    # What the layers are made of.

    def _conv(self, x: Any, layer: Layer, part: str, inp: int, out: int, kernel: int = 1, stride: int = 1) -> Any:
        with _scope(f"{layer.name}.{part}"):
            weight = self._weight(layer, f"{part}.kernel", (kernel, kernel, inp, out))
            x, padding = _pad(x, layer) if kernel > 1 else (x, "VALID")
            y = tf.nn.conv2d(x, weight, stride, padding)
            return tf.nn.bias_add(y, self._weight(layer, f"{part}.bias", (out,)))

    def _depthwise(self, x: Any, layer: Layer) -> Any:
        with _scope(f"{layer.name}.depthwise"):
            weight = self._weight(layer, "depthwise.kernel", (layer.kernel, layer.kernel, layer.mid, 1))
            x, padding = _pad(x, layer)
            y = tf.nn.depthwise_conv2d(x, weight, [1, layer.stride, layer.stride, 1], padding)
            return tf.nn.bias_add(y, self._weight(layer, "depthwise.bias", (layer.mid,)))

    def _activate(self, x: Any, act: Activation, point: str) -> Any:
        if act in ("relu", "relu6"):
            with _scope(point):
                return tf.nn.relu(x) if act == "relu" else tf.nn.relu6(x)
        if act == "h_swish":
            with _scope(f"{point}.gate"):
                gate = tf.nn.relu6(x + 3.0)
            if self.hard_swish == "composed":
                with _scope(f"{point}.sixth"):
                    x *= 1 / 6
            with _scope(point):
                # The converter knows (x * gate) / 6 as a hard swish, and not (x / 6) * gate.
                return x * gate if self.hard_swish == "composed" else x * gate * (1 / 6)
        return x

    def _weight(self, layer: Layer, name: str, shape: tuple[int, ...]) -> Any:
        array = self.weights.get(layer.name, {}).get(name)
        if array is None or array.shape != shape:
            found = "is missing" if array is None else f"has shape {array.shape}"
            raise ValueError(f"{layer.name}: {name} {found}, expected shape {shape}")
        return tf.constant(array)


def build_twin(network: Network, *, hard_swish: HardSwish = "composed") -> Twin:
    """The twin of a torch network at the resolution of its active layer list; the output is probabilities.

    Raises ValueError for weights that are not finite, and as `Twin` does.
    """
    return Twin(network.active, fold(network), hard_swish=hard_swish)


def _scope(point: str) -> Any:
    """The name scope of a point, whatever scope is open."""
    return tf.name_scope(f"{point.replace('.', '/')}/")


def _pad(x: Any, layer: Layer) -> tuple[Any, str]:
    """Torch's symmetric padding of kernel // 2 on (1, H, W, C): by SAME where that is equal, else by a PAD operation."""
    half = layer.kernel // 2
    total = (layer.out_resolution - 1) * layer.stride + layer.kernel - layer.resolution  # what SAME adds
    if total == 2 * half:
        return x, "SAME"
    return tf.pad(x, [[0, 0], [half, half], [half, half], [0, 0]]), "VALID"
