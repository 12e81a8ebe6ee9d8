import gzip
import hashlib
import json
import shutil
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from ofa_core.datasets import fashion_mnist
from ofa_core.datasets.idx import read_idx
from ofa_core.datasets.params import PrepareParams
from ofa_core.datasets.prepare import prepare
from ofa_core.images.packed import SPLITS, draw, load_split, pack, split_train
from ofa_core.images.resize import resize
from ofa_core.nn.inputs import to_input
from ofa_core.run import files
from ofa_core.run.errors import InputError
from ofa_core.run.params import parse
from tests.conftest import REPO

OWN = {"folder": None, "image_size": None, "class_names": None, "shards": None, "max_broken": 0, "leaks": "stop"}
ALL = {"dataset": "fashion_mnist", "train_images": 0, "val_images": 5000, "test_images": 0} | OWN


def idx_bytes(array):
    return b"\0\0\x08" + bytes([array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


@pytest.fixture(scope="module")
def real_raw(tmp_path_factory):
    """A raw folder with the real files: the repository's, or a new one filled from this machine or the Debian package."""
    if all((REPO / "data/raw" / name).exists() for name in fashion_mnist.FILES):
        return REPO / "data/raw"
    folder = tmp_path_factory.mktemp("raw")
    try:
        fashion_mnist.find(folder, urls=())
    except InputError as error:
        pytest.skip(f"needs Fashion-MNIST: {error}")
    return folder


@pytest.fixture
def small_raw(tmp_path, monkeypatch):
    """A raw folder with 60 train and 20 test images, small and random, in the same format. Their MD5s replace the real ones."""
    folder, rng, known = tmp_path / "raw", np.random.default_rng(0), {}
    folder.mkdir()
    for name in fashion_mnist.FILES:
        count = 60 if name.startswith("train") else 20
        array = (
            rng.integers(256, size=(count, 6, 5), dtype=np.uint8) if "images" in name else np.arange(count, dtype=np.uint8) % 10
        )
        content = gzip.compress(idx_bytes(array), mtime=0)
        (folder / name).write_bytes(content)
        known[name] = (hashlib.md5(content).hexdigest(), "")
    monkeypatch.setattr(fashion_mnist, "FILES", known)
    return folder


def small(**changes):
    return PrepareParams(**{"dataset": "fashion_mnist", "train_images": 0, "val_images": 20, "test_images": 0} | OWN | changes)


def test_real_fashion_mnist(real_raw, tmp_path):
    out = tmp_path / "data.npz"
    metrics = prepare(PrepareParams(**ALL), 0, real_raw, out)
    sizes = {"train_images": 55000, "val_images": 5000, "test_images": 10000}
    even = {"smallest_class_images": 5500, "largest_class_images": 5500}
    assert metrics == {"height": 28, "width": 28, "channels": 1, "classes": 10} | sizes | even
    splits = {name: load_split(out, name) for name in SPLITS}
    for name, split in splits.items():
        assert split.images.dtype == np.uint8
        assert split.images.shape == (sizes[f"{name}_images"], 28, 28, 1)
        assert np.bincount(split.labels).tolist() == [sizes[f"{name}_images"] // 10] * 10
        assert split.labels.dtype == np.int64
        assert split.classes == fashion_mnist.CLASSES
    # The published mean of all train pixels is 0.2860 (scaled by 255). train and val together are the published train half.
    both = np.concatenate([splits["train"].images, splits["val"].images])
    assert both.mean() / 255 == pytest.approx(0.2860, abs=1e-4)
    originals = read_idx(real_raw / "train-images-idx3-ubyte.gz")
    assert sorted(both.reshape(60000, -1).sum(1)) == sorted(originals.reshape(60000, -1).sum(1))
    # test keeps the order and content of the file.
    assert (splits["test"].images[..., 0] == read_idx(real_raw / "t10k-images-idx3-ubyte.gz")).all()
    assert (splits["test"].labels == read_idx(real_raw / "t10k-labels-idx1-ubyte.gz")).all()


def test_facts_of_the_data_set_stand_beside_it(small_raw, tmp_path):
    """They are the same however many images there are: stages that need no images depend on them alone."""
    contents = set()
    for val_images in (20, 30):
        prepare(small(val_images=val_images), 0, small_raw, tmp_path / "data.npz")
        contents.add((tmp_path / "dataset.json").read_text())
    [content] = contents
    facts = {"dataset": "fashion_mnist", "dataset_license": fashion_mnist.LICENSE, "classes": list(fashion_mnist.CLASSES)}
    assert json.loads(content) == facts


def test_equal_arguments_give_equal_bytes(small_raw, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        prepare(small(train_images=30, test_images=10), seed, small_raw, tmp_path / name)
    a, b, c = (files.md5(tmp_path / name) for name in "abc")
    assert a == b != c
    with zipfile.ZipFile(tmp_path / "a") as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_images_keep_their_labels(small_raw, tmp_path):
    prepare(small(train_images=30, test_images=10), 0, small_raw, tmp_path / "out")
    images = read_idx(small_raw / "train-images-idx3-ubyte.gz")
    place = {image.tobytes(): i for i, image in enumerate(images)}
    found = {name: [place[image.tobytes()] for image in load_split(tmp_path / "out", name).images] for name in ("train", "val")}
    assert len(found["train"]) == 30
    assert len(found["val"]) == 20
    assert not set(found["train"]) & set(found["val"])
    for name, places in found.items():
        labels = load_split(tmp_path / "out", name).labels
        assert (labels == np.array(places) % 10).all()
        assert (np.bincount(labels) == len(labels) // 10).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"val_images": 60}, "prepare.val_images: 60 is not between 1 and 59"),
        ({"train_images": 41}, "prepare.train_images: 41 is not between 0 and 40, the number of images available"),
        ({"test_images": 21}, "prepare.test_images: 21 is not between 0 and 20, the number of images available"),
    ],
)
def test_more_images_than_there_are(small_raw, tmp_path, changes, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        prepare(small(**changes), 0, small_raw, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("key", "value"), [("dataset", "mnist"), ("val_images", 0), ("val_images", 5e3), ("train_images", -1), ("extra", 1)]
)
def test_params_are_checked(key, value):
    with pytest.raises(ValueError, match=rf"^params\.yaml: prepare\.{key}: "):
        parse(PrepareParams, ALL | {key: value}, "params.yaml: prepare")


@pytest.mark.parametrize("count", [0, 1, 7, 33, 60])
def test_draw_is_stratified_and_a_permutation(count):
    labels = np.repeat([0, 1, 2], [30, 20, 10])
    drawn, others = draw(labels, count, seed=3)
    assert len(drawn) == count
    assert sorted([*drawn, *others]) == list(range(60))
    for label, size in enumerate((30, 20, 10)):
        assert abs((labels[drawn] == label).sum() - size * count / 60) < 1
    if count == 33:
        assert (np.diff(drawn) < 0).any(), "in random order"


def test_split_train_depends_on_the_seed_alone():
    labels = np.arange(100) % 10
    (train, val), again, other = (split_train(labels, 20, seed) for seed in (0, 0, 1))
    assert (train == again[0]).all()
    assert (val == again[1]).all()
    assert (val != other[1]).any()


def test_another_md5_in_the_raw_folder(small_raw, tmp_path):
    path = small_raw / "t10k-labels-idx1-ubyte.gz"
    expected = files.md5(path)
    path.write_bytes(b"other")
    got = files.md5(path)
    with pytest.raises(ValueError, match=rf"^{path}: MD5 {got} is not the expected {expected}"):
        prepare(small(), 0, small_raw, tmp_path / "out")


def test_nothing_anywhere(tmp_path):
    url = (tmp_path / "mirror").as_uri()
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte\.gz, .* missing, and not found elsewhere") as raised:
        fashion_mnist.find(tmp_path / "raw", tmp_path / "system", None, [url])
    message = str(raised.value)
    assert "\n" not in message
    assert str(tmp_path / "system") in message
    assert url in message


def test_files_come_from_the_system_folder_else_from_urls(small_raw, tmp_path):
    mirror = tmp_path / "mirror"
    shutil.copytree(small_raw, mirror)
    names = list(fashion_mnist.FILES)
    (small_raw / names[0]).unlink()
    fashion_mnist.find(small_raw, mirror, None, ())
    assert files.md5(small_raw / names[0]) == fashion_mnist.FILES[names[0]][0]
    # A system folder with a broken file is skipped.
    broken = tmp_path / "system"
    broken.mkdir()
    (broken / names[0]).write_bytes(b"broken")
    fashion_mnist.find(tmp_path / "new", broken, None, [(tmp_path / "nowhere").as_uri(), mirror.as_uri()])
    assert all(files.md5(tmp_path / "new" / name) == md5 for name, (md5, _) in fashion_mnist.FILES.items())


def test_a_package_that_does_not_exist(tmp_path):
    with pytest.raises(ValueError, match=r"Debian package no-such-package-xyz: "):
        fashion_mnist.find(tmp_path / "raw", tmp_path / "system", "no-such-package-xyz", ())


def test_idx_is_read_strictly(tmp_path):
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    good, path = gzip.compress(idx_bytes(array)), tmp_path / "x.gz"
    path.write_bytes(good)
    assert (read_idx(path) == array).all()
    bad = {
        "truncated gzip file": good[:-12],
        "not a gzip file": b"PK not gzip",
        "not an IDX file": gzip.compress(b"\0\0\x0d\x01\0\0\0\0"),
        "truncated IDX header": gzip.compress(idx_bytes(array)[:9]),
        "23 bytes of data; the header says 24": gzip.compress(idx_bytes(array)[:-1]),
        "25 bytes of data; the header says 24": gzip.compress(idx_bytes(array) + b"x"),
    }
    for message, content in bad.items():
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"^{path}: {message}"):
            read_idx(path)
    with pytest.raises(ValueError, match=rf"{tmp_path}/none\.gz: No such file"):
        read_idx(tmp_path / "none.gz")


def test_packing_refuses_what_does_not_fit(tmp_path):
    images, labels = np.zeros((4, 2, 2, 3), np.uint8), np.array([0, 1, 0, 1])
    good = (images, labels)
    for bad, message in [
        ((images.astype(float), labels), "val: images are float64"),
        ((images[..., 0], labels), "val: images are uint8"),
        ((images, labels[:3]), "val: labels are int64"),
        ((images, labels + 1), "val: labels range from 1 to 2; there are 2 classes"),
    ]:
        with pytest.raises(ValueError, match=message):
            pack(tmp_path / "x", {"train": good, "val": bad, "test": good}, ["a", "b"])
    with pytest.raises(ValueError, match="splits: train; they must be"):
        pack(tmp_path / "x", {"train": good}, ["a", "b"])
    assert list(tmp_path.iterdir()) == []


def test_loading_refuses_broken_files(small_raw, tmp_path):
    path = tmp_path / "x.npz"
    prepare(small(), 0, small_raw, path)
    with pytest.raises(ValueError, match=r"split: 'all' is not one of train, val, test"):
        load_split(path, "all")
    for content in (path.read_bytes()[:-100], path.read_bytes()[:100], b"", b"text"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"{path}: not a packed data set: "):
            load_split(path, "val")
    with pytest.raises(ValueError, match="no such file"):
        load_split(tmp_path / "none", "val")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("r", [20, 24, 28, 32])
def test_resize_is_pillows(channels, r):
    images = np.random.default_rng(0).integers(256, size=(5, 28, 28, channels), dtype=np.uint8)
    resized = resize(images, r)
    assert resized.shape == (5, r, r, channels)
    assert resized.dtype == np.uint8
    for image, out in zip(images, resized, strict=True):
        for channel in range(channels):
            expected = Image.fromarray(image[..., channel]).resize((r, r), Image.Resampling.BILINEAR)
            assert (out[..., channel] == np.asarray(expected)).all()


def test_resize_refuses_other_arrays():
    for bad in (np.zeros((1, 4, 4, 3)), np.zeros((4, 4, 3), np.uint8), np.zeros((1, 4, 4, 2), np.uint8)):
        with pytest.raises(ValueError, match="is not uint8"):
            resize(bad, 8)


def test_to_input():
    images = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    x = to_input(images)
    assert x.shape == (1, 3, 16, 16)
    assert x.dtype == torch.float32
    assert x.min() == -1
    assert x.max() == 1
    assert x[0, 2, 3, 5] == pytest.approx((3 * 16 + 5) / 127.5 - 1)
    colour = to_input(torch.arange(12, dtype=torch.uint8).reshape(1, 2, 2, 3))
    assert colour[0, :, 1, 0].tolist() == pytest.approx([v / 127.5 - 1 for v in (6, 7, 8)])


def test_package_lists_are_fetched_where_there_are_none(tmp_path, monkeypatch):
    run, failed = fashion_mnist._run, []

    def without_lists(package, command, folder):
        if not failed:
            failed.append(command)
            raise InputError("E: Unable to locate package")
        run(package, command, folder)

    monkeypatch.setattr(fashion_mnist, "_run", without_lists)
    try:
        fashion_mnist.find(tmp_path / "raw", system_folder=tmp_path / "none", urls=())
    except InputError as error:
        pytest.skip(f"Debian packages are not available: {error}")
    assert sorted(path.name for path in (tmp_path / "raw").iterdir()) == sorted(fashion_mnist.FILES)
