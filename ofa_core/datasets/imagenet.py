"""ImageNet's layout (ILSVRC 2012): train/ and val/ with one folder per synset, or a flat val/ with the devkit's ground truth.

ImageNet Large Scale Visual Recognition Challenge (Russakovsky et al., 2015, https://arxiv.org/abs/1409.0575). Published
accuracies are measured on val/. So val/ is the split `test` here, used only for the final evaluation. The split `val`, used for
decisions, is held out of train/. Once-for-all did the same with 10,000 images.
"""

from io import BytesIO

from ofa_core.datasets.folders import Classes, below, classes_of, top_of
from ofa_core.images.decode import is_image
from ofa_core.images.tree import Tree
from ofa_core.run.errors import InputError

GROUND_TRUTH = ("ILSVRC2012_validation_ground_truth.txt", "imagenet_2012_validation_synset_labels.txt")
"""Files with one line per val image, in the order of names: its class number starting at 1, as in the devkit, or its synset."""
META = "meta.mat"
"""The devkit's file of synsets by number."""
SYNSETS = "synsets.txt"
"""Alternative file of synsets, one per line, starting with number 1."""


def find(tree: Tree) -> dict[str, Classes]:
    """Images by split (train and test) and synset. test is the content of val/.

    Raises InputError, naming the file or folder: train/ or val/ missing, a flat val/ without ground truth, ground truth for
    more or fewer images, an unknown class.
    """
    top = top_of(tree)
    folders = {name.lower(): name for name in below(tree, top)}
    for name in ("train", "val"):
        if name not in folders:
            raise InputError(f"{tree.full(top)}: no folder {name}/")
    train = classes_of(tree, f"{top}{folders['train']}/")
    val = f"{top}{folders['val']}/"
    if below(tree, val):
        return {"train": train, "test": classes_of(tree, val)}
    images = [name for name in tree.files if name.startswith(val) and is_image(name)]
    if not images:
        raise InputError(f"{tree.full(val)}: no images")
    test: Classes = {}
    for name, synset in zip(images, _ground_truth(tree, len(images)), strict=True):
        test.setdefault(synset, []).append(name)
    return {"train": train, "test": test}


def _ground_truth(tree: Tree, count: int) -> list[str]:
    """The synset of each val image."""
    path = _one(tree, GROUND_TRUTH)
    if path is None:
        raise InputError(f"{tree.path}: val/ has no class folders, and {' or '.join(GROUND_TRUTH)} is missing")
    lines = _lines(tree, path)
    if len(lines) != count:
        raise InputError(f"{tree.full(path)}: {len(lines)} lines; val/ has {count} images")
    if not lines[0].isdigit():
        return lines
    source, synsets = _synsets(tree)
    found = []
    for number, line in enumerate(lines, 1):
        if not line.isdigit() or not 1 <= int(line) <= len(synsets):
            raise InputError(f"{tree.full(path)}: line {number}: {line!r} is out of range; {source} has {len(synsets)} classes")
        found.append(synsets[int(line) - 1])
    return found


def _synsets(tree: Tree) -> tuple[str, list[str]]:
    """The file of the synsets, and the synsets of numbers 1, 2, ..."""
    if path := _one(tree, (SYNSETS,)):
        return tree.full(path), [line.split()[0] for line in _lines(tree, path)]
    path = _one(tree, (META,))
    if path is None:
        raise InputError(f"{tree.path}: the ground truth of val/ has numbers, but neither {META} nor {SYNSETS} was found")
    from scipy.io import loadmat  # slow to import; checking parameters does not need it

    full = tree.full(path)
    try:
        rows = loadmat(BytesIO(tree.read(path)), squeeze_me=True)["synsets"]
        # The file also has the synsets above the classes. These have children.
        leaves = {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in rows if int(row["num_children"]) == 0}
    except Exception as error:  # the reader raises many types of error for broken bytes
        raise InputError(f"{full}: not the devkit's {META} ({type(error).__name__})") from None
    if sorted(leaves) != list(range(1, len(leaves) + 1)):
        raise InputError(f"{full}: the numbers of its classes are not 1 to {len(leaves)}")
    return full, [leaves[number] for number in sorted(leaves)]


def _one(tree: Tree, names: tuple[str, ...]) -> str | None:
    """The file with one of these names, at any depth. None if there is none."""
    found = [path for path in tree.files if path.rpartition("/")[2] in names]
    if len(found) > 1:
        raise InputError(f"{tree.path}: {found[0]} and {found[1]}: which one?")
    return found[0] if found else None


def _lines(tree: Tree, path: str) -> list[str]:
    try:
        lines = tree.read(path).decode().split("\n")
    except ValueError as error:
        raise InputError(f"{tree.full(path)}: {error}") from None
    lines = [line.strip() for line in lines]
    if lines[-1] == "":
        lines.pop()
    if not lines or "" in lines:
        raise InputError(f"{tree.full(path)}: {'an empty line' if lines else 'empty'}")
    return lines
