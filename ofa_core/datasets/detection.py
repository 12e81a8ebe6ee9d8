"""Turns images with annotations, or scenes, into one packed data set with boxes."""

import hashlib
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ofa_core.datasets import coco, voc
from ofa_core.datasets.annotations import Annotated, Annotations, boxes_of
from ofa_core.datasets.box_images import CLIPPED, REASONS, decode_boxes
from ofa_core.datasets.decoding import Broken, repeated
from ofa_core.datasets.scenes import scenes
from ofa_core.images.boxes import BOX_SPLITS, BoxSplit, pack_boxes
from ofa_core.images.decode import is_image
from ofa_core.images.packed import draw
from ofa_core.images.tree import Tree
from ofa_core.run import files, paths
from ofa_core.run.errors import InputError

if TYPE_CHECKING:  # `ofa eval` reads annotations where pydantic is not installed
    from ofa_core.datasets.detection_params import PrepareDetectionParams

SECTION = "prepare_detection"
Drawn = dict[str, list[Annotated]]
"""Images by split."""
READERS = {"coco": coco.read, "voc": voc.read}
"""What reads the annotations of a tree, by format."""


def format_of(tree: Tree) -> str:
    """The format of a tree's annotations, a key of `READERS`: voc if there are .xml files, else coco."""
    return "voc" if any(name.lower().endswith(".xml") for name in tree.files) else "coco"


def prepare_detection(params: "PrepareDetectionParams", seed: int, items: Path, out: Path) -> dict[str, Any]:
    """Writes into the folder `out` detection.npz (`images/boxes.py`), an instances JSON for each split, and dataset.json.

    items: the packed classification data that scenes are made of. dataset.json has the name, the licence if known, and the
    classes, for stages that need no images. Equal arguments and files give equal bytes.

    Returns a report: images, boxes and crowds of each split, boxes of each class, what was dropped or clipped, broken images.
    Raises InputError, one line naming a parameter or a file: data not found or broken, fewer images than requested, an unknown
    class, no box to train on.
    """
    if params.dataset == "scenes":
        splits, made = scenes(items, params.image_size, params.images, seed)
        used = {name: len({i for scene in of for i in scene.items + scene.decoys}) for name, of in made.items()}
        extra: dict[str, Any] = {"items": used, **_counted(Counter()), "broken_images": 0}
        facts = {"dataset": "scenes", **_license(items)}
    else:
        splits, extra = _own(params, seed)
        facts = {"dataset": params.source.resolve().name.removesuffix(".zip")}
    if not sum((~crowd).sum() for crowd in splits["train"].crowd):
        raise InputError(f"{SECTION}.folder: {params.folder}: no boxes to train on")
    classes = splits["train"].classes
    pack_boxes(out / paths.DETECTION.name, splits)
    for name, split in splits.items():
        files.write_json(out / paths.detection_annotations(name).name, coco.instances(split, f"{facts['dataset']}, {name}"))
    files.write_json(out / paths.DETECTION_FACTS.name, facts | {"classes": list(classes)})
    return {
        "image_size": params.image_size,
        "channels": splits["train"].images.shape[-1],
        "classes": len(classes),
        "images": {name: len(split.images) for name, split in splits.items()},
        "boxes": {name: sum(map(len, split.boxes)) for name, split in splits.items()},
        "crowds": {name: int(sum(crowd.sum() for crowd in split.crowd)) for name, split in splits.items()},
        "boxes_by_class": {name: _by_class(split) for name, split in splits.items() if name != "unlabelled"},
    } | extra


def _own(params: "PrepareDetectionParams", seed: int) -> tuple[dict[str, BoxSplit], dict[str, Any]]:
    with Tree(_existing("folder", params.folder)) as tree:
        try:
            annotations = READERS[params.dataset](tree)
        except InputError as error:
            raise InputError(f"{SECTION}.folder: {error}") from None
        classes = _classes(params, tree, annotations)
        drawn = _choose(params, annotations, seed)
        broken = Broken(tree, params.max_broken, f"{SECTION}.max_broken")
        decoded = {name: decode_boxes(tree, name, drawn[name], params.image_size, classes, broken) for name in drawn}
        known = {one.image for images in annotations.splits.values() for one in images}
        ignored = sum(is_image(name) and name not in known for name in tree.files)
    splits, counts = {name: split for name, (split, _) in decoded.items()}, sum((c for _, c in decoded.values()), Counter())
    digests = {name: [_digest(image) for image in splits[name].images] for name in ("train", "val", "test")}
    count = broken.count
    extra = {"images_without_annotations": ignored, "repeated_images": repeated(tree.path, digests)}
    if params.unlabelled_folder is not None:
        splits["unlabelled"], count = _without_boxes(params, classes, seed, count)
        extra["unlabelled_repeated"] = _leave_out(splits, {*digests["val"], *digests["test"]})
    for name in ("train", "val", "test"):
        if not len(splits[name].images):
            raise InputError(f"{SECTION}.folder: {tree.path}: none of the {name} images can be read")
    told = {f"{number} {reason.replace('_', ' ')}" for reason, number in counts.items() if number}
    if told:
        print(f"{tree.path}: boxes dropped or clipped: {', '.join(sorted(told))}", file=sys.stderr, flush=True)
    return {name: splits[name] for name in BOX_SPLITS}, extra | _counted(counts) | {"broken_images": count}


def _existing(key: str, path: str | None) -> Path:
    if not Path(path or "").exists():
        raise InputError(f"{SECTION}.{key}: {path}: no such folder or .zip archive")
    return Path(path or "")


def _classes(params: "PrepareDetectionParams", tree: Tree, annotations: Annotations) -> tuple[str, ...]:
    """Names in the order of their labels. Raises InputError, naming the box, for a class that is not among them."""
    if params.numbering == "category_id" and annotations.ids is not None:
        names = dict(zip(annotations.ids, annotations.classes, strict=True))
        if min(names) < 1 or max(names) > 10_000:
            raise InputError(f"{SECTION}.numbering: category_id: ids are {min(names)} to {max(names)}, not 1 to 10000")
        return tuple(names.get(number, f"unused {number}") for number in range(1, max(names) + 1))
    if params.classes is None:
        return annotations.classes
    classes = tuple(params.classes)
    if missing := set(classes) - set(annotations.classes):
        raise InputError(f"{SECTION}.classes: {min(missing)}: {tree.path} has {', '.join(annotations.classes)}")
    for images in annotations.splits.values() if params.other_classes == "stop" else ():
        for one in images:
            for label, field in zip(one.labels, one.fields, strict=True):
                if label not in classes:
                    raise InputError(
                        f"{tree.full(one.source)}: {field}: {label!r} is not in {SECTION}.classes; "
                        "add it, or set other_classes to drop"
                    )
    return classes


def _choose(params: "PrepareDetectionParams", annotations: Annotations, seed: int) -> Drawn:
    """The images to decode. train and val are in random order, so any first part is a fair sample; test is in tree order."""
    train, chosen = annotations.splits.get("train", []), {}
    if not train:
        raise InputError(f"{SECTION}.folder: {params.folder} has {', '.join(annotations.splits)}, but no train images")
    held_out = ["test", "val"] + ["unlabelled"] * (params.unlabelled_folder is None)
    for split in held_out:
        count = params.images[split]
        if split in annotations.splits:
            chosen[split], _ = _draw(annotations.splits[split], split, count or len(annotations.splits[split]), seed)
        elif count or split == "unlabelled":
            chosen[split], train = _draw(train, split, count, seed)
        else:
            raise InputError(f"{SECTION}.{split}_images: 0 means all, but {params.folder} has no {split}; give a number")
    if not train:
        raise InputError(f"{SECTION}.train_images: no image is left to train on")
    chosen["train"], _ = _draw(train, "train", params.images["train"] or len(train), seed)
    chosen["test"] = sorted(chosen["test"], key=lambda one: one.image)
    forgotten = [one._replace(boxes=boxes_of([]), labels=(), crowd=one.crowd[:0]) for one in chosen.get("unlabelled", [])]
    return {**chosen, "unlabelled": forgotten}


def _draw(images: list[Annotated], split: str, count: int, seed: int) -> tuple[list[Annotated], list[Annotated]]:
    """`count` images at random, and the others; all in random order."""
    try:
        some, rest = draw(np.zeros(len(images), np.int64), count, seed)
    except InputError as error:
        raise InputError(f"{SECTION}.{split}_images: {error}") from None
    return [images[i] for i in some], [images[i] for i in rest]


def _without_boxes(
    params: "PrepareDetectionParams", classes: tuple[str, ...], seed: int, broken_before: int
) -> tuple[BoxSplit, int]:
    """Images of `unlabelled_folder`, and the number of broken images so far."""
    with Tree(_existing("unlabelled_folder", params.unlabelled_folder)) as tree:
        empty = Annotated("", None, boxes_of([]), (), np.zeros(0, np.bool_), "", ())
        images = [empty._replace(image=name) for name in tree.files if is_image(name)]
        if not images:
            raise InputError(f"{SECTION}.unlabelled_folder: {tree.path}: no images")
        drawn, _ = _draw(images, "unlabelled", params.unlabelled_images or len(images), seed)
        broken = Broken(tree, params.max_broken, f"{SECTION}.max_broken")
        broken.count = broken_before
        split, _ = decode_boxes(tree, "unlabelled", drawn, params.image_size, classes, broken)
        return split, broken.count


def _leave_out(splits: dict[str, BoxSplit], held_out: set[bytes]) -> int:
    """Takes images with these digests, those of val and test, out of unlabelled; returns their number."""
    kept = [i for i, image in enumerate(splits["unlabelled"].images) if _digest(image) not in held_out]
    split = splits["unlabelled"]
    splits["unlabelled"] = split._replace(
        images=split.images[kept],
        sizes=split.sizes[kept],
        names=tuple(split.names[i] for i in kept),
        boxes=split.boxes[: len(kept)],
        labels=split.labels[: len(kept)],
        crowd=split.crowd[: len(kept)],  # all are empty
    )
    return len(split.images) - len(kept)


def _digest(image: np.ndarray) -> bytes:
    return hashlib.blake2b(image.tobytes(), digest_size=16).digest()


def _by_class(split: BoxSplit) -> dict[str, int]:
    counts = np.bincount(np.concatenate([np.zeros(0, np.int64), *split.labels]), minlength=len(split.classes))
    return dict(zip(split.classes, counts.tolist(), strict=True))


def _counted(counts: Counter[str]) -> dict[str, Any]:
    return {"dropped_boxes": {reason: counts[reason] for reason in REASONS}, "clipped_boxes": counts[CLIPPED]}


def _license(items: Path) -> dict[str, str]:
    """The licence of the items, if the classification data say one."""
    facts = files.read_json(items.with_name(paths.DATASET_FACTS.name))
    return {key: facts[key] for key in ("dataset_license",) if key in facts}
