"""Sets in their published formats: IDX files and CIFAR's binary version, valid and broken."""

import gzip
import io
import tarfile
import zipfile

import numpy as np
import pytest

from ofa_core.datasets import fashion_mnist
from ofa_core.datasets.prepare import about, prepare
from ofa_core.images.packed import SPLITS, load_split
from ofa_core.run import files
from ofa_core.run.errors import InputError
from tests.datasets.test_prepare import idx_bytes
from tests.pictures import params

RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.integers(256, size=(60, 6, 5), dtype=np.uint8), np.arange(60, dtype=np.uint8) % 3
NO_FILES = {"image_size": None, "val_images": 12}


def idx_folder(root, images=IMAGES, labels=LABELS, test_labels=LABELS[:12], packed=True, test="t10k"):
    root.mkdir(exist_ok=True)
    arrays = {
        "train-images-idx3-ubyte": images, "train-labels-idx1-ubyte": labels,
        f"{test}-images-idx3-ubyte": images[:12], f"{test}-labels-idx1-ubyte": test_labels,
    }  # fmt: skip
    for name, array in arrays.items():
        content = idx_bytes(array)
        (root / (name + ".gz" * packed)).write_bytes(gzip.compress(content, mtime=0) if packed else content)
    return root


def run(path, tmp_path, dataset, **changes):
    out = tmp_path / "out.npz"
    metrics = prepare(params(path, **({"dataset": dataset} | NO_FILES | changes)), 0, tmp_path, out)
    return metrics, {name: load_split(out, name) for name in SPLITS}


# ---------------------------------------------------------------------------------------------------------------------- IDX


@pytest.mark.parametrize(("packed", "test"), [(True, "t10k"), (False, "test")])
def test_idx_files_of_any_size(tmp_path, packed, test):
    metrics, splits = run(idx_folder(tmp_path / "x", packed=packed, test=test), tmp_path, "idx")
    sizes = {"train_images": 48, "val_images": 12, "test_images": 12}
    even = {"smallest_class_images": 16, "largest_class_images": 16}
    assert metrics == {"height": 6, "width": 5, "channels": 1, "classes": 3} | sizes | even
    assert splits["train"].classes == ("0", "1", "2")
    assert (splits["test"].images[..., 0] == IMAGES[:12]).all()
    place = {image.tobytes(): label for image, label in zip(IMAGES, LABELS, strict=True)}
    assert all(place[i.tobytes()] == label for i, label in zip(splits["val"].images, splits["val"].labels, strict=True))


def test_idx_in_colour_in_a_zip_with_names(tmp_path):
    colour = RNG.integers(256, size=(60, 8, 8, 3), dtype=np.uint8)
    root = idx_folder(tmp_path / "x", images=colour, labels=LABELS + 1, test_labels=LABELS[:12] + 1)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for path in sorted(root.iterdir()):
            archive.write(path, f"inside/{path.name}")
    (tmp_path / "names.txt").write_text("none\nred\ngreen\nblue sky\n")
    names = str(tmp_path / "names.txt")
    metrics, splits = run(tmp_path / "x.zip", tmp_path, "idx", class_names=names, train_images=9, test_images=6)
    assert (metrics["channels"], metrics["train_images"], metrics["test_images"]) == (3, 9, 6)
    # Labels start at 1, as in EMNIST's letters. Label 0 does not become a class without images.
    assert splits["test"].classes == ("red", "green", "blue sky")
    assert np.bincount(splits["train"].labels).tolist() == [3, 3, 3]


def test_fashion_mnist_by_its_files_gives_the_same_images(tmp_path):
    """The real files, once as dataset fashion_mnist and once as plain IDX files."""
    try:
        fashion_mnist.find(tmp_path / "raw", urls=())
    except InputError as error:
        pytest.skip(f"needs Fashion-MNIST: {error}")
    few = {"train_images": 500, "val_images": 100, "test_images": 200}
    _, own = run(tmp_path / "raw", tmp_path, "idx", **few)
    _, known = run(None, tmp_path, "fashion_mnist", **few | {"folder": None})
    for name in SPLITS:
        assert (own[name].images == known[name].images).all()
        assert (own[name].labels == known[name].labels).all()


def truncated(root):
    path = root / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-9])


def foreign(root):
    (root / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(b"\0\0\x0d\x01\0\0\0\x01\0\0\0\0"))


def short(root):
    (root / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx_bytes(LABELS[:59])))


def unknown_label(root):
    (root / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx_bytes(LABELS[:12] + 1)))


def other_size(root):
    (root / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx_bytes(IMAGES[:12, :5])))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncated, r"{root}/train-images-idx3-ubyte\.gz: truncated gzip file"),
        (foreign, r"{root}/train-labels-idx1-ubyte\.gz: not an IDX file of unsigned bytes"),
        (short, r"{root}/train-labels-idx1-ubyte\.gz: \(59,\) labels for 60 images"),
        (unknown_label, r"{root}/t10k-labels-idx1-ubyte\.gz: label 3 is out of range; no train image has it"),
        (other_size, r"{root}/t10k-images-idx3-ubyte\.gz: images of \(5, 5, 1\), but train images are \(6, 5, 1\)"),
        (
            lambda root: (root / "t10k-labels-idx1-ubyte.gz").unlink(),
            r"{root}: no file t10k-labels\*idx\* or test-labels\*idx\*",
        ),
        (
            lambda root: (root / "emnist-train-images-idx3-ubyte.gz").write_bytes(b""),
            r"{root}: several files train-images\*idx\*: emnist-train-images-idx3-ubyte\.gz, train-images-idx3-ubyte\.gz",
        ),
    ],
)
def test_broken_idx_sets(tmp_path, damage, message):
    root = idx_folder(tmp_path / "x")
    damage(root)
    with pytest.raises(ValueError, match=f"^prepare.folder: {message.format(root=root)}$"):
        run(root, tmp_path, "idx")
    assert not (tmp_path / "out.npz").exists()


def test_names_that_do_not_fit(tmp_path):
    root, names = idx_folder(tmp_path / "x"), tmp_path / "names.txt"
    for content, message in (
        (None, "no such file"),
        ("", "empty"),
        ("a\n\nc\n", "line 2: no name"),
        ("a\nb\n", ""),
    ):
        if content is not None:
            names.write_text(content)
        wanted = (
            f"^prepare.class_names: {names}: {message}$"
            if message
            else "label 2 of image 2 is out of range; there are 2 classes$"
        )
        with pytest.raises(ValueError, match=wanted):
            run(root, tmp_path, "idx", class_names=str(names))


# -------------------------------------------------------------------------------------------------------------------- CIFAR

CLASSES = ("airplane", "automobile", "bird")


def cifar_files(version):
    """File names and contents of either set with 60 + 12 images, and the expected images and labels."""
    images = RNG.integers(256, size=(72, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(72, dtype=np.uint8) % 3
    columns = [labels[:, None]] if version == 10 else [labels[:, None] + 7, labels[:, None]]  # coarse, fine
    records = np.concatenate([*columns, images.transpose(0, 3, 1, 2).reshape(72, -1)], axis=1)
    names = "\n".join(CLASSES) + "\n\n"
    if version == 10:
        batches = {f"data_batch_{i + 1}.bin": records[i * 12 :][:12].tobytes() for i in range(5)}
        content = batches | {"test_batch.bin": records[60:].tobytes(), "batches.meta.txt": names.encode()}
    else:
        content = {"train.bin": records[:60].tobytes(), "test.bin": records[60:].tobytes()}
        content |= {"fine_label_names.txt": names.encode(), "coarse_label_names.txt": b"one\ntwo\n"}
    return content, images, labels


def unpacked(root, content):
    root.mkdir()
    for name, data in content.items():
        (root / name).write_bytes(data)
    return root


def archived(path, content):
    with tarfile.open(path, "w:gz") as archive:
        for name, data in content.items():
            member = tarfile.TarInfo(f"cifar-batches-bin/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


@pytest.mark.parametrize("version", [10, 100])
def test_cifar_unpacked_or_not(tmp_path, version):
    content, images, labels = cifar_files(version)
    digests = []
    for path in (unpacked(tmp_path / "cifar", content), archived(tmp_path / "cifar.tar.gz", content)):
        metrics, splits = run(path, tmp_path, "cifar")
        assert metrics["channels"] == 3
        assert splits["train"].classes == CLASSES
        assert (splits["test"].images == images[60:]).all()
        assert (splits["test"].labels == labels[60:]).all()
        place = {image.tobytes(): label for image, label in zip(images[:60], labels[:60], strict=True)}
        for name in ("train", "val"):
            assert [place[image.tobytes()] for image in splits[name].images] == splits[name].labels.tolist()
        digests.append(files.md5(tmp_path / "out.npz"))
        assert about(params(path, dataset="cifar", **NO_FILES)) == {"dataset": "cifar"}
    assert len(set(digests)) == 1


def test_broken_cifar_sets(tmp_path):
    content, _, _ = cifar_files(10)
    batch = content["data_batch_3.bin"]
    for i, (change, message) in enumerate(
        [
            ({"data_batch_3.bin": batch[:-1]}, r"data_batch_3\.bin: 36875 bytes are not a whole number of records of 3073"),
            ({"data_batch_3.bin": b""}, r"data_batch_3\.bin: 0 bytes are not .*"),
            (
                {"data_batch_3.bin": b"\x09" + batch[1:]},
                r"data_batch_3\.bin: label 9 of image 0 is out of range; there are 3 .*",
            ),
            ({"data_batch_3.bin": None}, r": data_batch_3\.bin missing"),
            ({"test_batch.bin": None}, r": test_batch\.bin missing"),
            ({"batches.meta.txt": None}, r": batches\.meta\.txt missing"),
            (dict.fromkeys(content), r": neither data_batch_1\.bin nor train\.bin of CIFAR's binary version found"),
        ]
    ):
        changed = {name: data for name, data in (content | change).items() if data is not None}
        root = unpacked(tmp_path / str(i), changed)
        with pytest.raises(ValueError, match=rf"^prepare\.folder: {root}/?{message}$"):
            run(root, tmp_path, "cifar")
    path = archived(tmp_path / "cut.tar.gz", content)
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(ValueError, match=rf"^prepare\.folder: {path}: not a whole \.tar\.gz archive"):
        run(path, tmp_path, "cifar")
    with pytest.raises(ValueError, match=rf"^prepare\.folder: {tmp_path}/none: no such folder"):
        run(tmp_path / "none", tmp_path, "cifar")


def test_pickles_are_never_read(tmp_path):
    root = unpacked(tmp_path / "cifar-10-batches-py", {"data_batch_1": b"cos\nsystem\n(S'false'\ntR.", "batches.meta": b""})
    with pytest.raises(ValueError, match=r"the pickled version of CIFAR can run arbitrary code; use the binary version$"):
        run(root, tmp_path, "cifar")
