"""Own images: decoding of all formats and modes, folder layouts, and what may be wrong with them."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from ofa_core import files
from ofa_core.data.decode import centre, decode
from ofa_core.data.folders import ALL, find
from ofa_core.data.packed import SPLITS, load_split
from ofa_core.data.prepare import PrepareParams, about, prepare
from ofa_core.data.tree import Tree
from ofa_core.params import parse
from tests.conftest import shared_data

SIZE = 8
ALL_IMAGES = {"train_images": 0, "val_images": 0, "test_images": 0}


def picture(seed=0, width=12, height=10):
    """A smooth RGB image, so that JPEG changes it little, with four corners that differ."""
    corners = np.random.default_rng(seed).integers(0, 256, (2, 2, 3), dtype=np.uint8)
    return Image.fromarray(corners).resize((width, height), Image.Resampling.BILINEAR)


def save(image, path, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def content(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def folder(root, layout, suffix=".png"):
    """Writes different images: {"train/cat": 5, ...}; returns the root."""
    seed = 0
    for name, count in layout.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            seed += 1
            save(picture(seed), root / name / f"{i}{suffix}")
    return root


def zipped(root, path, prefix=""):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(root.rglob("*")):
            archive.write(file, prefix + file.relative_to(root).as_posix())
    return path


def params(path, **changes):
    fields = {"dataset": "folder", "folder": str(path), "image_size": SIZE, "max_broken": 0} | ALL_IMAGES | changes
    return PrepareParams(**fields)


def run(path, tmp_path, seed=0, **changes):
    """(metrics, splits) of a whole prepare."""
    out = tmp_path / "out.npz"
    metrics = prepare(params(path, **changes), seed, tmp_path, out)
    return metrics, {name: load_split(out, name) for name in SPLITS}


SPLIT = {"train/cat": 4, "train/dog": 5, "val/cat": 2, "val/dog": 1, "test/cat": 1, "test/dog": 2}

# ----------------------------------------------------------------------------------------------------------------- decoding

RGB = picture()
GREY = RGB.convert("L")
ALPHA = Image.fromarray(np.tile(np.linspace(0, 255, 12, dtype=np.uint8), (10, 1)))
RGBA = RGB.copy()
RGBA.putalpha(ALPHA)
LA = GREY.copy()
LA.putalpha(ALPHA)
DEEP = Image.fromarray(np.asarray(GREY).astype(np.uint16) * 256 + 77)
PALETTE = RGB.quantize(16)


def on_white(image):
    rgba = np.asarray(image.convert("RGBA")).astype(float)
    alpha = rgba[..., 3:] / 255
    return rgba[..., :3] * alpha + 255 * (1 - alpha)


@pytest.mark.parametrize(
    ("kind", "image", "options", "expected", "tolerance"),
    [
        ("PNG", RGB, {}, RGB, 0),
        ("PNG", GREY, {}, GREY, 0),
        ("PNG", GREY.convert("1"), {}, GREY.convert("1"), 0),
        ("PNG", PALETTE, {}, PALETTE, 0),
        ("PNG", PALETTE, {"transparency": 3}, None, 0),
        ("PNG", RGB, {"transparency": RGB.getpixel((0, 0))}, None, 0),
        ("PNG", RGBA, {}, None, 1),
        ("PNG", LA, {}, None, 1),
        ("PNG", DEEP, {}, GREY, 0),
        ("JPEG", RGB, {"quality": 95, "subsampling": 0}, RGB, 6),
        ("JPEG", GREY, {"quality": 95}, GREY, 6),
        ("JPEG", RGB.convert("CMYK"), {"quality": 95, "subsampling": 0}, RGB, 6),
        ("JPEG", RGB, {"quality": 95, "subsampling": 0, "progressive": True}, RGB, 6),
        ("WEBP", RGB, {"lossless": True}, RGB, 0),
        ("WEBP", RGBA, {"lossless": True, "exact": True}, None, 1),
        ("BMP", RGB, {}, RGB, 0),
        ("BMP", GREY, {}, GREY, 0),
        ("BMP", PALETTE, {}, PALETTE, 0),
        ("BMP", GREY.convert("1"), {}, GREY.convert("1"), 0),
    ],
)
def test_every_format_and_mode(kind, image, options, expected, tolerance):
    file = content(image, kind, **options)
    if expected is None:  # transparent parts
        expected = on_white(Image.open(io.BytesIO(file)))
        assert (expected == 255).all(axis=-1).any()
    else:
        expected = np.asarray(expected.convert("RGB")).astype(float)
    found = decode(file)
    assert found.mode == "RGB"
    assert np.abs(np.asarray(found) - expected).max() <= tolerance


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_exif_orientation(orientation, kind):
    """The corners of the upright image tell which way it was turned."""
    stored = {1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
              5: lambda a: a.swapaxes(0, 1), 6: lambda a: a.swapaxes(0, 1)[::-1], 7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
              8: lambda a: a.swapaxes(0, 1)[:, ::-1]}  # fmt: skip
    upright = picture(3, 16, 8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = Image.fromarray(np.ascontiguousarray(stored[orientation](np.asarray(upright))))
    file = content(turned, kind, exif=exif, **({} if kind == "PNG" else {"quality": 95}))
    found = decode(file)
    assert found.size == (16, 8)
    assert np.abs(np.asarray(found).astype(int) - np.asarray(upright)).max() <= (0 if kind == "PNG" else 30)
    assert found == ImageOps.exif_transpose(Image.open(io.BytesIO(file))).convert("RGB")


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_broken_metadata_does_not_matter():
    found = decode(content(RGB, "JPEG", exif=b"Exif\0\0MM\0*\0\0\xff\xffnonsense"))
    assert found.size == RGB.size


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP"])
def test_truncated_and_corrupt_images(kind):
    whole = content(picture(0, 60, 50), kind)
    for broken in (b"", b"text", whole[:20], whole[: len(whole) // 2], whole[:8] + bytes(len(whole) - 8)):
        with pytest.raises(ValueError, match=r"^[^\n]+$") as raised:
            decode(broken)
        assert "BytesIO" not in str(raised.value)
    with pytest.raises(ValueError, match="not a JPEG, PNG, WebP or BMP image"):
        decode(content(RGB, "GIF"))


@pytest.mark.parametrize(("width", "height"), [(40, 30), (30, 40), (33, 33), (9, 31), (5, 8)])
def test_centre_is_pillows_resize_and_crop(width, height):
    image = picture(0, width, height)
    scale = 16 / min(width, height)
    whole = image.resize((round(width * scale), round(height * scale)), Image.Resampling.BILINEAR)
    left, top = (whole.width - 12) // 2, (whole.height - 14) // 2
    assert centre(image, 16, (14, 12)) == whole.crop((left, top, left + 12, top + 14))


def test_too_long_images_are_refused():
    with pytest.raises(ValueError, match="2020 x 20 pixels, one side more than 100 times the other"):
        centre(Image.new("RGB", (2020, 20)), 224, (224, 224))


def test_photos_as_published_networks_see_them():
    """The first photos of a set beside the tensors a published network was run on: shorter side 128, centre 112."""
    expected = np.load(shared_data("ofa/proxyless_w0.25_r112_imagenet/io.npz"))["x"]  # (8, 3, 112, 112)
    with Tree(shared_data("images/imagenet_photos.zip")) as tree:
        names = [name for name in tree.files if name.startswith("images/")][: len(expected)]
        found = np.stack([np.asarray(centre(decode(tree.read(name)), 128, (112, 112))) for name in names])
    pixels = np.round((expected + 1) * 127.5).transpose(0, 2, 3, 1)
    assert (found == pixels).all()


# ------------------------------------------------------------------------------------------------------------------ layouts


def test_train_val_and_test_of_its_own(tmp_path):
    metrics, splits = run(folder(tmp_path / "birds", SPLIT), tmp_path)
    assert metrics == {
        "height": SIZE, "width": SIZE, "channels": 3, "classes": 2, "train_images": 9, "val_images": 3, "test_images": 3,
        "broken_images": 0, "ignored_files": 0, "repeated_images": 0,
    }  # fmt: skip
    for name, split in splits.items():
        assert split.images.shape == (metrics[f"{name}_images"], SIZE, SIZE, 3)
        assert split.classes == ("cat", "dog")
    assert np.bincount(splits["train"].labels).tolist() == [4, 5]
    assert splits["test"].labels.tolist() == [0, 1, 1], "test keeps the order of names"
    assert (np.diff(splits["train"].labels) < 0).any(), "train is in random order"
    first = centre(Image.open(tmp_path / "birds/test/cat/0.png"), SIZE, (SIZE, SIZE))
    assert (splits["test"].images[0] == np.asarray(first)).all()


def test_one_folder_is_split_by_class(tmp_path):
    root = folder(tmp_path / "birds", {"cat": 20, "dog": 10})
    metrics, splits = run(root, tmp_path, val_images=6, test_images=3)
    assert [metrics[f"{name}_images"] for name in SPLITS] == [21, 6, 3]
    assert [np.bincount(splits[name].labels).tolist() for name in SPLITS] == [[14, 7], [4, 2], [2, 1]]
    seen = [image.tobytes() for split in splits.values() for image in split.images]
    assert len(set(seen)) == 30, "no image is in two splits"


@pytest.mark.parametrize("name", ["val", "valid", "Validation"])
def test_missing_test_is_held_out_of_train(tmp_path, name):
    root = folder(tmp_path / "x", {"TRAIN/cat": 6, "TRAIN/dog": 6, f"{name}/cat": 4, f"{name}/dog": 4})
    metrics, splits = run(root, tmp_path, test_images=4, val_images=2, train_images=6)
    assert [metrics[f"{split}_images"] for split in SPLITS] == [6, 2, 4]
    own = {np.asarray(centre(Image.open(path), SIZE, (SIZE, SIZE))).tobytes() for path in (root / name).rglob("*.png")}
    assert {image.tobytes() for image in splits["val"].images} <= own
    assert not {image.tobytes() for image in splits["test"].images} & own


def test_a_zip_gives_the_same_bytes_and_so_does_a_second_run(tmp_path):
    root = folder(tmp_path / "x", SPLIT)
    (tmp_path / "y").mkdir()
    paths = [root, root, zipped(root, tmp_path / "x.zip"), zipped(root, tmp_path / "y.zip", "wrapped/again/")]
    digests = []
    for path in paths:
        prepare(params(path), 0, tmp_path, tmp_path / "out.npz")
        digests.append(files.md5(tmp_path / "out.npz"))
    assert len(set(digests)) == 1
    prepare(params(root), 1, tmp_path, tmp_path / "out.npz")
    assert files.md5(tmp_path / "out.npz") != digests[0], "another seed, another order"


def test_other_files_are_ignored_and_counted(tmp_path, capsys):
    root = folder(
        tmp_path / "x", {"train/cat/persian": 2, "train/cat": 2, "train/dog": 3, "test/cat": 1, "val/cat": 1}, ".JPEG"
    )
    for name in ("notes.txt", "train/cat/a.txt", "train/dog/.hidden.png", "train/dog/Thumbs.db", ".git/x/y.png", "train/z.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        save(picture(99), root / name, format="PNG")
    metrics, _ = run(root, tmp_path)
    assert metrics["train_images"] == 7, "images may lie deeper than their class"
    assert metrics["ignored_files"] == 6
    assert capsys.readouterr().err.startswith(
        f"{root}: ignored files: 2 .txt, 1 .db, 2 hidden, 1 images outside of class folders\n"
    )


def test_links_are_followed_but_not_for_ever(tmp_path):
    root = folder(tmp_path / "x", {"cat": 3})
    folder(tmp_path / "elsewhere", {"dog": 3})
    (root / "dog").symlink_to(tmp_path / "elsewhere/dog")
    (root / "cat/loop").symlink_to(root)
    with Tree(root) as tree:
        assert {name: len(names) for name, names in find(tree)[ALL].items()} == {"cat": 3, "dog": 3}


def test_names_in_archives_reach_nothing_outside(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name in ("../up.png", "/etc/root.png", "cat/../../up.png", "__MACOSX/cat/1.png", "cat/1.png"):
            archive.writestr(name, b"x")
    with Tree(tmp_path / "x.zip") as tree:
        assert tree.files == ["cat/1.png"]
        assert tree.folders == ["cat"]
        assert tree.hidden_files == 4


def test_images_in_two_splits_are_told(tmp_path, capsys):
    root = folder(tmp_path / "x", SPLIT)
    (root / "test/cat/copy.png").write_bytes((root / "train/cat/1.png").read_bytes())
    metrics, _ = run(root, tmp_path)
    assert metrics["repeated_images"] == 1
    assert "1 images of val and test are also in train, pixel for pixel" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------------------ what is wrong


@pytest.mark.parametrize(
    ("layout", "changes", "message"),
    [
        ({"cat": 5, "dog": 0}, {}, r"{root}/dog: a class without images"),
        ({"train/cat": 5, "train/dog": 5, "test/cat": 0, "test/dog": 2}, {}, "{root}/test/cat: a class without images"),
        ({"cat": 5, "dog": 2}, {}, "{root}/dog: 2 images, a class needs 3"),
        ({"cat": 1, "dog": 1}, {}, "{root}/cat: 1 images, a class needs 3"),
        ({"cat": 5}, {}, "{root}: one class only, cat"),
        ({}, {}, "{root}: no images in class folders"),
        ({"train": 5}, {}, "{root}/train: no images in class folders"),
        (SPLIT | {"valid/cat": 1}, {}, "{root}/valid: a second folder for the split val"),
        (SPLIT | {"test/cow": 1}, {}, "{root}/test/cow: train has no class cow"),
        ({"val/cat": 3, "test/cat": 3}, {}, "{root}: has test, val but no train"),
        (
            {"cat": 5, "dog": 5},
            {"val_images": 2},
            "prepare.test_images: 0, but {root} has no test to take all of; give a number",
        ),
        (
            {"cat": 5, "dog": 5},
            {"test_images": 2},
            "prepare.val_images: 0, but {root} has no val to take all of; give a number",
        ),
        ({"cat": 5, "dog": 5}, {"val_images": 2, "test_images": 11}, "prepare.test_images: 11 is not between 0 and 10, .*"),
        ({"cat": 5, "dog": 5}, {"val_images": 5, "test_images": 5}, "{root}: no train image is left of class cat; .*"),
        (SPLIT, {"train_images": 10}, "prepare.train_images: 10 is not between 0 and 9, .*"),
        (SPLIT, {"train_images": 1}, "{root}: no train image is left of class cat; hold out fewer, or take more"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, layout, changes, message):
    root = tmp_path / "x"
    root.mkdir()
    folder(root, layout)
    with pytest.raises(ValueError, match=f"^{message.format(root=root)}$"):
        run(root, tmp_path, **changes)
    assert not (tmp_path / "out.npz").exists()


def test_no_such_folder(tmp_path):
    with pytest.raises(ValueError, match=rf"^{tmp_path}/none: no such folder or \.zip archive$"):
        run(tmp_path / "none", tmp_path)
    (tmp_path / "x.zip").write_bytes(b"PK text")
    with pytest.raises(ValueError, match=rf"^{tmp_path}/x\.zip: neither a folder nor a whole \.zip archive$"):
        run(tmp_path / "x.zip", tmp_path)


def damage(root):
    """A corrupt, a truncated and an empty image among the train images."""
    whole = content(picture(0, 60, 50), "JPEG")
    (root / "train/cat/corrupt.jpg").write_bytes(b"no image at all")
    (root / "train/dog/half.JPG").write_bytes(whole[:-20])
    (root / "val/dog/empty.png").write_bytes(b"")


def test_a_link_to_nowhere_is_a_broken_image(tmp_path):
    root = folder(tmp_path / "x", SPLIT)
    (root / "train/cat/gone.png").symlink_to(tmp_path / "nowhere.png")
    assert run(root, tmp_path, max_broken=1)[0]["broken_images"] == 1
    with pytest.raises(ValueError, match=r"1 broken images, .*; the last is train/cat/gone\.png: No such file or directory$"):
        run(root, tmp_path)


@pytest.mark.parametrize("archive", [False, True])
def test_broken_images_are_named_and_left_out(tmp_path, capsys, archive):
    root = folder(tmp_path / "x", SPLIT)
    damage(root)
    path = zipped(root, tmp_path / "x.zip") if archive else root
    metrics, splits = run(path, tmp_path, max_broken=3)
    assert metrics["broken_images"] == 3
    assert [metrics[f"{name}_images"] for name in SPLITS] == [9, 3, 3]
    assert np.bincount(splits["train"].labels).tolist() == [4, 5]
    err = capsys.readouterr().err
    for name in (
        "train/cat/corrupt.jpg: not a JPEG",
        "train/dog/half.JPG: image file is truncated",
        "val/dog/empty.png: an empty",
    ):
        assert f"\n{path}/{name}" in "\n" + err.replace("\r", "\n")


def test_more_broken_images_than_allowed(tmp_path, capsys):
    root = folder(tmp_path / "x", SPLIT)
    for i in range(30):
        (root / f"train/cat/broken{i:02}.png").write_bytes(b"x")
    with pytest.raises(
        ValueError, match=rf"^{root}: 26 broken images, more than prepare\.max_broken: 25; the last is train/cat/"
    ):
        run(root, tmp_path, max_broken=25)
    assert capsys.readouterr().err.count(": not a JPEG, PNG, WebP or BMP image") == 20
    assert not (tmp_path / "out.npz").exists()


def test_a_class_or_split_of_broken_images(tmp_path):
    root = folder(tmp_path / "x", SPLIT)
    for path in (root / "train/dog").iterdir():
        path.write_bytes(b"x")
    with pytest.raises(ValueError, match=f"^{root}: none of the train images can be read of class dog$"):
        run(root, tmp_path, max_broken=100)
    root = folder(tmp_path / "y", SPLIT)
    for path in (root / "val").rglob("*.png"):
        path.write_bytes(b"x")
    with pytest.raises(ValueError, match=f"^{root}: none of the val images can be read$"):
        run(root, tmp_path, max_broken=100)


def test_damaged_archive_members_are_broken_images(tmp_path):
    root = folder(tmp_path / "x", SPLIT)
    path = zipped(root, tmp_path / "x.zip")
    original = (root / "train/cat/1.png").read_bytes()
    whole = path.read_bytes()
    assert whole.count(original) == 1
    path.write_bytes(whole.replace(original, original[:-1] + b"?"))
    metrics, _ = run(path, tmp_path, max_broken=1)
    assert metrics["broken_images"] == 1


# --------------------------------------------------------------------------------------------------------------- parameters


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"folder": None}, "prepare.folder: null: dataset folder needs one"),
        ({"image_size": None}, "prepare.image_size: null: dataset folder needs one"),
        ({"dataset": "fashion_mnist"}, "prepare.folder: x: only for dataset folder, else null"),
        ({"dataset": "fashion_mnist", "folder": None}, "prepare.image_size: 32: only for dataset folder, else null"),
        (
            {"dataset": "fashion_mnist", "folder": None, "image_size": None},
            "prepare.val_images: 0: fashion_mnist has no val .*",
        ),
        ({"image_size": 4}, "prepare.image_size: 4: .*"),
        ({"max_broken": -1}, "prepare.max_broken: -1: .*"),
        ({"max_broken": None}, "prepare.max_broken: None: .*"),
    ],
)
def test_params_are_checked_against_each_other(changes, message):
    good = {"dataset": "folder", "folder": "x", "image_size": 32, "max_broken": 0} | ALL_IMAGES
    parse(PrepareParams, good, "params.yaml: prepare")
    with pytest.raises(ValueError, match=rf"^params\.yaml: {message}$"):
        parse(PrepareParams, good | changes, "params.yaml: prepare")


def test_what_the_manifest_says_of_the_data():
    assert about(params("data/raw/birds.v2")) == {"dataset": "birds.v2"}
    assert about(params("data/raw/birds.zip")) == {"dataset": "birds"}
    own = {"dataset": "fashion_mnist", "folder": None, "image_size": None, "val_images": 1}
    assert about(params("x", **own)) == {
        "dataset": "fashion_mnist",
        "dataset_license": "MIT License, Copyright (c) 2017 Zalando SE",
    }


# ---------------------------------------------------------------------------------------------------------------- real data


def test_real_cifar_10_archive(tmp_path):
    path = shared_data("images/cifar10_jpg.zip")
    metrics, splits = run(path, tmp_path, image_size=32, train_images=500, val_images=200, test_images=300)
    assert [metrics[f"{name}_images"] for name in SPLITS] == [500, 200, 300]
    assert metrics["classes"] == 10
    assert metrics["ignored_files"] == metrics["broken_images"] == 0
    names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    assert splits["test"].classes == names
    for name, split in splits.items():
        assert np.bincount(split.labels).tolist() == [metrics[f"{name}_images"] // 10] * 10
    # A 32 pixel image is stored as it is, under the class whose folder it came from.
    with zipfile.ZipFile(path) as archive:
        originals = {}
        for name in archive.namelist():
            if name.startswith("test/ship/") and name.endswith(".jpg"):
                originals[np.asarray(Image.open(io.BytesIO(archive.read(name)))).tobytes()] = name
    ships = splits["test"].images[splits["test"].labels == names.index("ship")]
    assert len(ships) == 30
    assert all(image.tobytes() in originals for image in ships)


def test_a_few_real_classes_unpacked(tmp_path):
    root = tmp_path / "pets"
    with zipfile.ZipFile(shared_data("images/cifar10_jpg.zip")) as archive:
        for label in ("cat", "dog"):
            names = [name for name in archive.namelist() if name.startswith(f"test/{label}/") and name.endswith(".jpg")][:60]
            for name in names:
                (root / label).mkdir(parents=True, exist_ok=True)
                (root / label / Path(name).name).write_bytes(archive.read(name))
    metrics, splits = run(root, tmp_path, image_size=24, val_images=20, test_images=20)
    assert [metrics[f"{name}_images"] for name in SPLITS] == [80, 20, 20]
    assert all(np.bincount(split.labels).tolist() == [len(split.labels) // 2] * 2 for split in splits.values())
    assert splits["train"].images.std() > 30
