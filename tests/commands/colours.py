"""A small detector that can be right: it finds cells of a 4 x 4 grid by their colour. And pictures for it."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from ofa_core.convert.tensorflow import tf
from ofa_core.convert.tflite import convert, converter_of
from ofa_core.detection.postprocess import PostprocessSettings
from ofa_core.detector_export.operator import append_postprocess

GRID, SIDE = 4, 32
CELLS = [(row, column) for row in range(GRID) for column in range(GRID)]
ANCHORS = np.array([((y + 0.5) / GRID, (x + 0.5) / GRID, 1 / GRID, 1 / GRID) for y, x in CELLS], np.float32)
COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


class Colours(tf.Module):
    """An image uint8 (1, 32, 32, 3) to encodings of 0 (1, 16, 4), and scores (1, 16, classes): a cell's means of the channels.

    Classes above three repeat the channels, a little weaker.
    """

    def __init__(self, classes):
        super().__init__(name="colours")
        strength = tf.constant(0.9 ** (np.arange(classes) // 3), tf.float32)

        def forward(image):
            means = tf.nn.avg_pool2d(tf.cast(image, tf.float32) / 255, SIDE // GRID, SIDE // GRID, "VALID")
            scores = tf.tile(means, (1, 1, 1, -(-classes // 3)))[..., :classes] * strength
            encodings = tf.concat([means, means[..., :1]], 3) * 0
            return {"boxes": tf.reshape(encodings, (1, -1, 4)), "classes": tf.reshape(scores, (1, -1, classes))}

        inputs = [tf.TensorSpec((1, SIDE, SIDE, 3), tf.uint8, name="image")]
        self.function = tf.function(forward, input_signature=inputs, autograph=False)
        self.concrete = self.function.get_concrete_function()


def detector(folder: Path, names=("red", "green", "blue"), classes=3, score_threshold=0.2, **settings) -> Path:
    """Writes d.tflite and, unless names is None, d.labels.txt."""
    settings = {"iou_threshold": 0.5, "use_regular_nms": True} | settings
    whole = PostprocessSettings(num_classes=classes, score_threshold=score_threshold, **settings)
    (folder / "d.tflite").write_bytes(append_postprocess(convert(converter_of(Colours(classes))), ANCHORS, whole))
    if names is not None:
        (folder / "d.labels.txt").write_text("".join(f"{name}\n" for name in names))
    return folder / "d.tflite"


def picture(cells, width=96, height=64):
    """Black, with coloured cells {(row, column): colour}."""
    pixels = np.zeros((height, width, 3), np.uint8)
    for (row, column), colour in cells.items():
        h, w = height // GRID, width // GRID
        pixels[row * h : (row + 1) * h, column * w : (column + 1) * w] = COLOURS[colour]
    return Image.fromarray(pixels)


PICTURES = (
    {(0, 0): "red", (2, 1): "green"},
    {(3, 3): "blue", (1, 2): "red", (0, 3): "green"},
    {},
)


def coco(folder: Path, categories=(("red", 3), ("green", 7), ("blue", 12)), pictures=PICTURES) -> Path:
    """A data set of the pictures. categories: names and ids."""
    folder.mkdir()
    ids, images, annotations = dict(categories), [], []
    for i, cells in enumerate(pictures):
        image = picture(cells)
        image.save(folder / f"{i}.png")
        images.append({"id": i, "file_name": f"{i}.png", "width": image.width, "height": image.height})
        h, w = image.height // GRID, image.width // GRID
        for (row, column), colour in cells.items():
            box = [column * w, row * h, w, h]
            entry = {"id": len(annotations) + 1, "image_id": i, "category_id": ids[colour], "iscrowd": 0, "area": h * w}
            annotations.append(entry | {"bbox": box})
    named = [{"id": number, "name": name} for name, number in categories]
    content = {"images": images, "annotations": annotations, "categories": named}
    (folder / "annotations.json").write_text(json.dumps(content))
    return folder


def voc(folder: Path, pictures=PICTURES) -> Path:
    """The same as Pascal VOC."""
    folder.mkdir()
    for i, cells in enumerate(pictures):
        image = picture(cells)
        image.save(folder / f"{i}.png")
        h, w = image.height // GRID, image.width // GRID
        objects = "".join(
            f"<object><name>{colour}</name><bndbox><xmin>{x * w}</xmin><ymin>{y * h}</ymin><xmax>{x * w + w}</xmax>"
            f"<ymax>{y * h + h}</ymax></bndbox></object>"
            for (y, x), colour in cells.items()
        )
        (folder / f"{i}.xml").write_text(f"<annotation><filename>{i}.png</filename>{objects}</annotation>")
    return folder
