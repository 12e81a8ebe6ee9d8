"""The TensorFlow network: the same operations and the same weights as a torch network, as plain `tf.nn` calls.

A `tf.Module` of constants, not a Keras model, whose converted bytes depend on what the process built before.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ofa_core.convert.folding import Weights, fold
from ofa_core.convert.tensorflow import tf
from ofa_core.nn.network import Network
from ofa_core.run.errors import InputError
from ofa_core.space.graph import lower_network, output_points
from ofa_core.space.layers import Layer
from ofa_core.space.ops import IMAGE, HardSwish, Op, same_padding

PROBABILITIES = "probabilities"
"""The output of a classifier: the softmax of its last layer."""


class TFNetwork(tf.Module):
    """A network, or any part of its layers, for images of one size and batch 1.

    layers: the records in the order they run. weights: by name in the operations, as `folding.fold` returns them.
    hard_swish: "fused" converts to one HARD_SWISH operation, "composed" to ADD (ReLU6 fused) and two MULs. XNNPACK runs the
      composed form of an int8 network and leaves the fused one to slower kernels.
    softmax: whether the output is probabilities. outputs: the points it returns; by default the last layer.
    inputs: the points that the first layer reads; several for a part that begins with a join.

    Every operation has its own name scope, see `scope`, by which `convert.tracing` finds it in a file.

    `function` takes an image (1, r, r, inp) float32, or (1, inp) if the first layer is linear; of several `inputs`, one array
    each. It returns {"probabilities": ...}; without softmax {"output": ...}; with named outputs, their points. A TFLite file's
    signature has these names.
    Raises InputError for layers that do not fit each other, or weights of a wrong shape.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        weights: Mapping[str, Weights],
        *,
        hard_swish: HardSwish = "composed",
        softmax: bool = True,
        outputs: Sequence[str] = (),
        inputs: Sequence[str] = (IMAGE,),
    ) -> None:
        super().__init__(name="network")
        if hard_swish not in ("fused", "composed"):
            raise InputError(f"hard_swish: {hard_swish!r} is not one of fused, composed")
        if softmax and outputs:
            raise InputError("softmax: a network of several outputs gives none")
        self.layers, self.weights, self.hard_swish, self.softmax = tuple(layers), weights, hard_swish, softmax
        self.inputs, self.ops = tuple(inputs), tuple(lower_network(layers, hard_swish, inputs))
        self.outputs, self.named = output_points(layers, outputs), bool(outputs)
        first = layers[0]
        flat = first.kind == "linear"
        self.input_shapes = [(1, channels) if flat else (1, side, side, channels) for channels, side in first.shapes]
        specs = [tf.TensorSpec(shape, tf.float32, name=name) for name, shape in zip(inputs, self.input_shapes, strict=True)]
        # No autograph: there is nothing for it to convert, and it would wrap our errors in its own.
        self.function = tf.function(self._forward, input_signature=specs, autograph=False)
        self.concrete = self.function.get_concrete_function()

    def _forward(self, *inputs: Any) -> dict[str, Any]:
        values = dict(zip(self.inputs, inputs, strict=True))
        for op in self.ops:
            values[op.point] = self._compute(op, *(values[point] for point in op.inputs))
        if self.named:
            return {point: values[point] for point in self.outputs}
        [x] = (values[point] for point in self.outputs)
        return {PROBABILITIES: tf.nn.softmax(x)} if self.softmax else {"output": x}

    def _compute(self, op: Op, x: Any, *others: Any) -> Any:
        """An operation with its activation: maps (1, H, W, C) or vectors (1, C)."""
        if op.kind == "hard_swish":
            return _hard_swish(op, x)
        with tf.name_scope(scope(op)):
            y = self._weighted(op, x) if op.weights is not None else _unweighted(op, x, *others)
        with tf.name_scope(scope_of_point(op.point)):
            if op.weights is not None and op.constant:
                y = y + op.constant
            return {"none": lambda: y, "relu": lambda: tf.nn.relu(y), "relu6": lambda: tf.nn.relu6(y)}[op.act]()

    def _weighted(self, op: Op, x: Any) -> Any:
        weights = self.weights.get(str(op.weights))
        kernel = tf.constant(_checked(op, "kernel", weights and weights.kernel, _kernel_shape(op)))
        if op.kind == "linear":
            y = tf.linalg.matmul(x, kernel)
        else:
            x, padding = _pad(x, op) if op.kernel > 1 else (x, "VALID")
            if op.kind == "depthwise":
                y = tf.nn.depthwise_conv2d(x, kernel, [1, op.stride, op.stride, 1], padding)
            else:
                y = tf.nn.conv2d(x, kernel, op.stride, padding)
        if not (op.norm or op.bias):
            return y
        return tf.nn.bias_add(y, tf.constant(_checked(op, "bias", weights and weights.bias, (op.out,))))


def tf_network(network: Network, *, hard_swish: HardSwish = "composed") -> TFNetwork:
    """The TensorFlow network of a torch network, at the resolution of its active layer list.

    Without named outputs it returns probabilities. Raises InputError for weights that are not finite, and as `TFNetwork`.
    """
    softmax = not network.outputs
    return TFNetwork(network.active, fold(network), hard_swish=hard_swish, softmax=softmax, outputs=network.outputs)


def scope(op: Op) -> str:
    """An operation's name scope: that of its layer for a pool, else of its weights, else of its point.

    The activation is built in the scope of the point.
    """
    return scope_of_point(op.layer if op.pools else op.weights or op.point)


def scope_of_point(name: str) -> str:
    """The absolute name scope of a point or of weights."""
    return f"{name.replace('.', '/')}/"


def _unweighted(op: Op, x: Any, *others: Any) -> Any:
    if op.kind == "maxpool":
        # Zeros may stand for torch's minus infinity: every maxpool of the spaces follows a ReLU.
        x, padding = _pad(x, op)
        return tf.nn.max_pool2d(x, op.kernel, op.stride, padding)
    if op.kind == "avgpool":
        # SAME excludes the padding from the mean, as torch's ceil_mode does.
        return tf.nn.avg_pool2d(x, op.kernel, op.stride, "SAME")
    if op.kind in ("mean", "flat_mean"):
        return tf.reduce_mean(x, axis=[1, 2], keepdims=op.kind == "mean")
    if op.kind == "join":
        return tf.concat([tf.reshape(y, (1, -1, op.out)) for y in (x, *others)], axis=1)
    if op.kind == "sigmoid":
        return tf.math.sigmoid(x)
    if op.kind == "divide":
        return x * (1 / op.constant)
    if op.kind == "shift":
        return x + op.constant
    return x + others[0] if op.kind == "add" else x * others[0]


def _hard_swish(op: Op, x: Any) -> Any:
    """The converter fuses (x * gate) / 6 into a hard swish, not (x / 6) * gate."""
    with tf.name_scope(scope_of_point(f"{op.point}.gate")):
        gate = tf.nn.relu6(x + 3.0)
    with tf.name_scope(scope_of_point(op.point)):
        return x * gate * (1 / 6)


def _kernel_shape(op: Op) -> tuple[int, ...]:
    if op.kind == "linear":
        return (op.inp, op.out)
    return (op.kernel, op.kernel, op.inp, 1 if op.kind == "depthwise" else op.out)


def _checked(op: Op, name: str, array: Any, shape: tuple[int, ...]) -> Any:
    if array is None or array.shape != shape:
        found = "is missing" if array is None else f"has shape {array.shape}"
        raise InputError(f"{op.weights}: {name} {found}, expected shape {shape}")
    return array


def _pad(x: Any, op: Op) -> tuple[Any, str]:
    """Pads (1, H, W, C) for an operation: TensorFlow's SAME where equal, else a PAD operation before it."""
    half = op.kernel // 2
    if op.padding == "same" or same_padding(op.resolution, op.kernel, op.stride) == (half, half):
        return x, "SAME"
    return tf.pad(x, [[0, 0], [half, half], [half, half], [0, 0]]), "VALID"
