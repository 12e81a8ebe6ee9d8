"""ImageNet's layout: val/ by synset, or flat with the devkit's ground truth, and errors in it."""

import csv
import shutil

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from ofa_core.datasets.prepare import prepare
from ofa_core.images.decode import centre
from ofa_core.images.packed import SPLITS, load_split
from ofa_core.images.tree import Tree
from ofa_core.run import files
from tests.conftest import shared_data
from tests.pictures import SIZE, folder, params, zipped

SYNSETS = ("n01440764", "n02084071", "n07747607")
NUMBERS = {2: "n01440764", 3: "n02084071", 1: "n07747607"}
"""Synsets by number. As in the devkit, the numbers do not follow the order of the synsets."""
TRUTH = [3, 1, 2, 2, 1, 3]
DEVKIT = "ILSVRC2012_devkit_t12/data"


def meta(path, numbers=NUMBERS):
    """Writes a meta.mat as in the devkit: classes, then the synsets above them."""
    kind = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("gloss", "O"), ("num_children", "O")]
    rows = [(number, synset, "a word", "a gloss", 0) for number, synset in sorted(numbers.items())]
    rows += [(len(rows) + 1, "n00001740", "entity", "all there is", 3)]
    savemat(path, {"synsets": np.array(rows, dtype=kind)[:, None]})


def tree(root, flat=True):
    """Writes train/ by synset and a flat val/ with the devkit, or both by synset, with the same images."""
    folder(root, {f"train/{synset}": 6 for synset in SYNSETS})
    folder(root, {"flat": len(TRUTH)})
    (root / "val").mkdir()
    for i, number in enumerate(TRUTH):
        name = f"ILSVRC2012_val_{i + 1:08}.PNG"
        if not flat:
            (root / "val" / NUMBERS[number]).mkdir(exist_ok=True)
            name = f"{NUMBERS[number]}/{name}"
        (root / f"flat/{i}.png").rename(root / "val" / name)
    (root / "flat").rmdir()
    if flat:
        (root / DEVKIT).mkdir(parents=True)
        meta(root / DEVKIT / "meta.mat")
        (root / DEVKIT / "ILSVRC2012_validation_ground_truth.txt").write_text("".join(f"{number}\n" for number in TRUTH))
    return root


def run(path, tmp_path, **changes):
    out = tmp_path / "out.npz"
    metrics = prepare(params(path, **({"dataset": "imagenet", "val_images": 3, "leaks": "report"} | changes)), 0, tmp_path, out)
    return metrics, {name: load_split(out, name) for name in SPLITS}


def test_flat_val_and_val_by_synset_are_the_same_set(tmp_path):
    flat, sorted_ = tree(tmp_path / "a"), tree(tmp_path / "b", flat=False)
    metrics, splits = run(flat, tmp_path)
    assert [metrics[f"{name}_images"] for name in SPLITS] == [15, 3, 6]
    assert splits["test"].classes == SYNSETS
    assert [SYNSETS[label] for label in splits["test"].labels] == [NUMBERS[number] for number in TRUTH]
    first = centre(Image.open(flat / "val/ILSVRC2012_val_00000001.PNG"), SIZE, (SIZE, SIZE))
    assert (splits["test"].images[0] == np.asarray(first)).all()
    assert np.bincount(splits["val"].labels).tolist() == [1, 1, 1], "held out of train, each class in proportion"
    _, by_synset = run(sorted_, tmp_path)
    for name in SPLITS:  # test is in the order of names, which depends on the folders
        pairs = [
            sorted((i.tobytes(), int(n)) for i, n in zip(s[name].images, s[name].labels, strict=True))
            for s in (splits, by_synset)
        ]
        assert pairs[0] == pairs[1]
    digest = files.md5(tmp_path / "out.npz")
    run(zipped(sorted_, tmp_path / "b.zip", "ILSVRC/Data/CLS-LOC/"), tmp_path)
    assert files.md5(tmp_path / "out.npz") == digest


@pytest.mark.parametrize("kind", ["synsets", "labels"])
def test_a_list_of_synsets_instead_of_the_devkit(tmp_path, kind):
    root = tree(tmp_path / "x")
    expected = run(root, tmp_path)[1]["test"].labels
    if kind == "synsets":
        (root / DEVKIT / "meta.mat").unlink()
        (root / "synsets.txt").write_text("".join(f"{NUMBERS[number]} a word\n" for number in (1, 2, 3)))
    else:
        shutil.rmtree(root / DEVKIT)
        lines = [NUMBERS[number] for number in TRUTH]
        (root / "imagenet_2012_validation_synset_labels.txt").write_text("\n".join(lines))
    assert (run(root, tmp_path)[1]["test"].labels == expected).all()


def test_names_of_synsets(tmp_path):
    root, names = tree(tmp_path / "x"), tmp_path / "words.txt"
    names.write_text("n01440764 tench, Tinca tinca\nn02084071\tcrane\nn07747607 crane\nn00000001 another\n")
    assert run(root, tmp_path, class_names=str(names))[1]["train"].classes == (
        "tench, Tinca tinca",
        "crane (n02084071)",
        "crane (n07747607)",
    )
    for content, message in (
        ("n01440764 tench\n", "no name for class n02084071"),
        ("n01440764\n", "line 1: expected a folder and a name"),
        ("a b\n\n", "line 2: expected a folder and a name"),
        ("a b\na c\n", "line 2: a appears twice"),
    ):
        names.write_text(content)
        with pytest.raises(ValueError, match=f"^prepare.class_names: {names}: {message}$"):
            run(root, tmp_path, class_names=str(names))


TRUTH_FILE = f"{DEVKIT}/ILSVRC2012_validation_ground_truth.txt"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda root: (root / TRUTH_FILE).unlink(),
            r"{root}: val/ has no class folders, and ILSVRC2012_validation_ground_truth\.txt or .* is missing",
        ),
        (lambda root: (root / TRUTH_FILE).write_text("1\n2\n"), r"{root}/{truth}: 2 lines; val/ has 6 images"),
        (
            lambda root: (root / TRUTH_FILE).write_text("1\n" * 5 + "4\n"),
            r"{root}/{truth}: line 6: '4' is out of range; .* 3 classes",
        ),
        (lambda root: (root / TRUTH_FILE).write_text("1\n" * 5 + "x\n"), r"{root}/{truth}: line 6: 'x' is out of range; .*"),
        (lambda root: (root / TRUTH_FILE).write_text(""), r"{root}/{truth}: empty"),
        (lambda root: (root / TRUTH_FILE).write_bytes(b"\xff\xfe"), r"{root}/{truth}: .* codec can't decode .*"),
        (
            lambda root: (root / DEVKIT / "meta.mat").unlink(),
            r"{root}: the ground truth of val/ has numbers, but neither meta\.mat nor synsets\.txt was found",
        ),
        (
            lambda root: (root / DEVKIT / "meta.mat").write_bytes(b"x" * 300),
            r"{root}/{devkit}/meta\.mat: not the devkit's meta\.mat .*",
        ),
        (
            lambda root: meta(root / DEVKIT / "meta.mat", {1: "n01440764", 3: "n02084071"}),
            r"{root}/{devkit}/meta\.mat: the numbers of its classes are not 1 to 2",
        ),
        (
            lambda root: meta(root / DEVKIT / "meta.mat", NUMBERS | {1: "n99999999"}),
            r"{root}/val: train has no class n99999999",
        ),
        (lambda root: shutil.rmtree(root / "val"), r"{root}: no folder val/"),
        (lambda root: [path.unlink() for path in (root / "val").iterdir()], r"{root}/val: no images"),
        (lambda root: shutil.copytree(root / DEVKIT, root / "again"), r"{root}: .*/ILSVRC2012_.*: which one\?"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, damage, message):
    root = tree(tmp_path / "x")
    damage(root)
    with pytest.raises(ValueError, match=f"^prepare.folder: {message.format(root=root, truth=TRUTH_FILE, devkit=DEVKIT)}$"):
        run(root, tmp_path)
    assert not (tmp_path / "out.npz").exists()


def test_real_photos_in_imagenets_layout(tmp_path):
    """Photos of three real classes: the last of each in a flat val/ with synsets as ground truth, the others in train/."""
    root = tmp_path / "ilsvrc"
    with Tree(shared_data("images/imagenet_photos.zip")) as photos:
        rows = list(csv.DictReader(photos.read("labels.csv").decode().splitlines()))
        for i, row in enumerate(rows[:30]):
            synset = f"n{i % 3:08}"
            place = f"val/ILSVRC2012_val_{i:08}.JPEG" if i >= 24 else f"train/{synset}/{synset}_{i}.JPEG"
            (root / place).parent.mkdir(parents=True, exist_ok=True)
            (root / place).write_bytes(photos.read(f"images/{row['file']}"))
    (root / "imagenet_2012_validation_synset_labels.txt").write_text("".join(f"n{i % 3:08}\n" for i in range(24, 30)))
    metrics, splits = run(root, tmp_path, image_size=48)
    assert [metrics[f"{name}_images"] for name in SPLITS] == [21, 3, 6]
    assert splits["test"].labels.tolist() == [0, 1, 2, 0, 1, 2]
    last = centre(Image.open(root / "val/ILSVRC2012_val_00000029.JPEG").convert("RGB"), 48, (48, 48))
    assert (splits["test"].images[-1] == np.asarray(last)).all()
