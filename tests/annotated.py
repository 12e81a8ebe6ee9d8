"""What tests of images with boxes share: small sets in COCO's and Pascal VOC's formats, and a whole `prepare_detection`."""

import json

from ofa_core.datasets.detection import prepare_detection
from ofa_core.datasets.detection_params import PrepareDetectionParams
from ofa_core.images.boxes import BOX_SPLITS, load_boxes
from tests.pictures import picture, save

WIDTH, HEIGHT = 40, 20
SIDE = 32


def photos(folder, *names, first=0):
    """Different images of 40 x 20 pixels."""
    for i, name in enumerate(names):
        save(picture(first + i, WIDTH, HEIGHT), folder / name)
    return folder


def coco_json(names, boxes, categories=((3, "cat"), (7, "dog")), **changes):
    """Content of an instances file. boxes: (index of the image, category id, x, y, width, height)."""
    return {
        "images": [{"id": 100 + i, "file_name": name, "height": HEIGHT, "width": WIDTH} for i, name in enumerate(names)],
        "annotations": [
            {"id": i, "image_id": 100 + image, "category_id": category, "bbox": box, "area": 1, "iscrowd": 0}
            for i, (image, category, *box) in enumerate(boxes)
        ],
        "categories": [{"id": number, "name": name} for number, name in categories],
    } | changes


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def voc_xml(filename, *boxes, size=(WIDTH, HEIGHT), head=""):
    """boxes: (name, xmin, ymin, xmax, ymax)."""
    objects = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
        for name, x0, y0, x1, y1 in boxes
    )
    width, height = size
    return (
        f"{head}<annotation><filename>{filename}</filename>"
        f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>{objects}</annotation>"
    )


def params(dataset, path, **changes):
    fields = {
        "dataset": dataset, "folder": None if path is None else str(path), "image_size": SIDE, "classes": None,
        "other_classes": "stop", "numbering": "dense", "train_images": 0, "unlabelled_images": 0, "unlabelled_folder": None,
        "val_images": 0, "test_images": 0, "max_broken": 0,
        "tracked": "build/data" if dataset == "scenes" else "data/detection.index",
    } | changes  # fmt: skip
    return PrepareDetectionParams(**fields)


def run(dataset, path, out, seed=0, items=None, **changes):
    """(report, splits) of a whole prepare_detection into the folder `out`."""
    report = prepare_detection(params(dataset, path, **changes), seed, items, out)
    return report, {name: load_boxes(out / "detection.npz", name) for name in BOX_SPLITS}
