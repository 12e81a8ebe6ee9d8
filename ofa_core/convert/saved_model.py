"""TensorFlow's own formats: the frozen graph, and the SavedModel as one archive.

Weights are constants of the network's graph, so both are that graph. TensorFlow's usual way to save names functions by a
process-wide counter and adds a random fingerprint; neither is in these files.
"""

import io
import tempfile
import zipfile
from pathlib import Path

from ofa_core.convert.network import TFNetwork
from ofa_core.convert.tensorflow import tf
from ofa_core.runtime.quiet import quiet

FOLDER = "saved_model"
"""The SavedModel's folder in its archive."""


def frozen_graph(network: TFNetwork) -> bytes:
    """A GraphDef (.pb): the placeholder `image` (1, r, r, 3), the output `Identity` (1, classes), as the float file's."""
    return network.concrete.graph.as_graph_def().SerializeToString(deterministic=True)


def saved_model(network: TFNetwork) -> bytes:
    """A .zip archive of the folder `FOLDER`: a SavedModel with the signature serving_default, `image` to `probabilities`.

    `tf.saved_model.load` reads the unpacked folder.
    """
    [name] = network.concrete.structured_outputs
    with tempfile.TemporaryDirectory() as temporary, tf.Graph().as_default() as graph, quiet():
        tensors = tf.import_graph_def(network.concrete.graph.as_graph_def(), name="", return_elements=["image:0", "Identity:0"])
        folder = Path(temporary, FOLDER)
        v1 = tf.compat.v1
        with v1.Session(graph=graph) as session:
            builder = v1.saved_model.Builder(str(folder))
            signature = v1.saved_model.predict_signature_def({"image": tensors[0]}, {name: tensors[1]})
            builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
            builder.save()
        content = (folder / "saved_model.pb").read_bytes()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        # Time and system would otherwise be the machine's.
        entry = zipfile.ZipInfo(f"{FOLDER}/saved_model.pb", date_time=(1980, 1, 1, 0, 0, 0))
        entry.create_system, entry.external_attr = 3, 0o644 << 16
        archive.writestr(entry, content)
    return buffer.getvalue()


def run_frozen_graph(content: bytes) -> "tf.types.experimental.GenericCallable":
    """A frozen graph as a function: image (1, r, r, 3) float32 to probabilities (1, classes)."""
    definition = tf.compat.v1.GraphDef.FromString(content)
    imported = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(definition, name=""), [])
    return imported.prune("image:0", "Identity:0")


def run_saved_model(content: bytes) -> "tf.types.experimental.GenericCallable":
    """A SavedModel from its archive as a function: image (1, r, r, 3) float32 to probabilities (1, classes)."""
    with tempfile.TemporaryDirectory() as temporary, quiet():
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            archive.extractall(temporary)
        function = tf.saved_model.load(str(Path(temporary, FOLDER))).signatures["serving_default"]
    return lambda image: next(iter(function(image=image).values()))
