"""A whole `prepare` of folders with faults: leaks, tiny and blank images, and files no one expects."""

import json

import numpy as np
import pytest
from PIL import Image

from ofa_core.datasets.prepare import prepare
from ofa_core.images.packed import load_split
from tests.datasets.test_sets import idx_folder
from tests.doctored import copied, photos, write
from tests.pictures import content, folder, params, picture, run, save

KINDS = ("Avocado", "Banana", "Kiwi", "Lemon")


@pytest.fixture
def leaking(tmp_path):
    """60 photos of groceries in train, 24 in test, and 10 train photos again in test, in another size and encoding."""
    rng, files = np.random.default_rng(0), {}
    for kind in KINDS:
        train = photos(prefix=f"train/{kind}/", most=15)
        files |= train | photos(prefix=f"test/{kind}/", most=6)
        for i, original in enumerate(list(train.values())[: 3 if kind < "C" else 2]):
            files[f"test/{kind}/copy_{i}.jpg"] = copied(original, rng, crop=bool(i % 2))
    return write(tmp_path / "groceries", files)


def prepared(root, tmp_path, **changes):
    """The report, faults.json, and names of the sheets."""
    out, faults = tmp_path / "out/data.npz", tmp_path / "out/faults"
    report = prepare(params(root, image_size=96, val_images=8, **changes), 0, tmp_path, out, faults)
    return report, json.loads((faults / "faults.json").read_text()), sorted(path.name for path in faults.glob("*.png"))


@pytest.mark.parametrize("shards", [None, "jpeg"])
def test_leaks_stop_the_stage_with_one_line(leaking, tmp_path, capsys, shards):
    with pytest.raises(ValueError, match=r"images of val and test have near-duplicates in train") as raised:
        prepared(leaking, tmp_path, shards=shards)
    message = str(raised.value)
    assert message.startswith(f"prepare.folder: {leaking}: ")
    assert "\n" not in message
    assert "set prepare.leaks to drop or report" in message
    assert "the first are train/" in message
    assert "copy_" in message
    assert not list((tmp_path / "out").glob("*")), "nothing is half-written"
    assert f"{leaking}: leak: train/" in capsys.readouterr().err


def test_leaks_are_reported_with_thumbnails(leaking, tmp_path):
    report, faults, sheets = prepared(leaking, tmp_path, leaks="report")
    held_out = {name for entry in faults["leaks"] for name in entry["images"]}
    copies = {f"test/{kind}/copy_{i}.jpg" for kind in KINDS for i in range(3 if kind < "C" else 2)}
    assert 7 <= report["leaked_images"] <= 10, "val, held out of train, may have some of the originals"
    assert copies & held_out
    assert report["train_images"] == 52
    assert "duplicates.png" in sheets
    path = tmp_path / "out/faults/duplicates.png"
    assert path.stat().st_size < 400_000
    with Image.open(path) as sheet:
        assert max(sheet.size) < 2000
    for entry in faults["leaks"]:
        assert entry["splits"] in (["train", "val"], ["train", "test"])
        assert 0.93 <= entry["likeness"] <= 1


@pytest.mark.parametrize("shards", [None, "png"])
def test_leaked_images_can_be_dropped(leaking, tmp_path, shards):
    reported, _, _ = prepared(leaking, tmp_path, leaks="report")
    report, _, _ = prepared(leaking, tmp_path, leaks="drop", shards=shards)
    assert report["dropped_images"] == reported["leaked_images"]
    assert report["train_images"] == 52 - report["dropped_images"]
    train, test = (load_split(tmp_path / "out/data.npz", name) for name in ("train", "test"))
    pixels = np.asarray(train.images[np.arange(len(train.labels))]).astype(float)
    for image in np.asarray(test.images[np.arange(len(test.labels))]):
        assert np.abs(pixels - image).mean(axis=(1, 2, 3)).min() > 5


def test_near_duplicates_that_were_drawn_apart_leave_train(tmp_path):
    """A folder without splits: each photo is there twice. No leak can be the folder's fault, and none is left."""
    rng, files = np.random.default_rng(0), {}
    for kind in KINDS[:2]:
        for name, original in photos(prefix=f"train/{kind}/", most=20).items():
            files[f"{kind}/{name[-7:]}"], files[f"{kind}/copy_{name[-7:]}"] = original, copied(original, rng)
    report, faults, _ = prepared(write(tmp_path / "x", files), tmp_path, test_images=12)
    assert report["val_images"] + report["test_images"] == 20
    assert report["dropped_images"] >= 0.95 * report["leaked_images"] > 5
    assert report["train_images"] == len(files) - 20 - report["dropped_images"]
    assert len(faults["leaks"]) >= report["leaked_images"]
    out = tmp_path / "out/data.npz"
    train, test = (load_split(out, name).images[:].astype(float) for name in ("train", "test"))
    assert min(np.abs(train - image).mean(axis=(1, 2, 3)).min() for image in test) > 5


def test_a_class_of_copies_alone(tmp_path):
    original = next(iter(photos(prefix="train/Kiwi/", most=1).values()))
    root = write(tmp_path / "x", {f"{kind}/{i}.jpg": original for kind in KINDS[:2] for i in range(9)})
    with pytest.raises(ValueError, match=r"no train image is left for class Avocado$"):
        prepared(root, tmp_path, test_images=2)
    assert not (tmp_path / "out").exists()


def test_clean_photos_pass(tmp_path):
    files = {name: data for kind in KINDS for name, data in photos(prefix=f"train/{kind}/", most=12).items()}
    files |= {name: data for kind in KINDS for name, data in photos(prefix=f"test/{kind}/", most=6).items()}
    report, faults, _ = prepared(write(tmp_path / "x", files), tmp_path)
    assert report["leaked_images"] == report["conflicting_pairs"] == report["blank_images"] == 0
    assert faults["leaks"] == []


def test_one_photo_with_two_labels(tmp_path):
    files = photos(prefix="train/Avocado/", most=8) | photos(prefix="train/Banana/", most=8)
    files |= photos(prefix="test/Avocado/", most=3) | photos(prefix="test/Banana/", most=3)
    root = write(tmp_path / "x", files)
    (root / "train/Banana/not_one.jpg").write_bytes(copied(next(iter(files.values())), np.random.default_rng(0)))
    report, faults, _ = prepared(root, tmp_path, leaks="report")
    pairs = [*faults["duplicates"], *faults["leaks"]]
    assert any("train/Banana/not_one.jpg" in entry["images"] for entry in pairs)
    assert report["conflicting_pairs"] + report["leaked_images"] >= 1


def test_tiny_and_blank_images_are_counted_and_shown(tmp_path):
    root = tmp_path / "x"
    for kind in ("Avocado", "Banana"):
        write(root, photos(prefix=f"train/{kind}/", most=8) | photos(prefix=f"test/{kind}/", most=4))
    save(Image.new("RGB", (200, 300), "white"), root / "train/Avocado/white.png")
    save(Image.new("L", (300, 200)), root / "test/Banana/black.jpg")
    save(picture(3, 40, 30), root / "train/Banana/small.png")
    report, faults, sheets = prepared(root, tmp_path)
    assert report["blank_images"] == 2
    assert set(faults["blank"]) == {"train/Avocado/white.png", "test/Banana/black.jpg"}
    assert faults["tiny"] == ["train/Banana/small.png"]
    assert "tiny_and_blank.png" in sheets


def test_panorama_cmyk_and_rotated_photos(tmp_path, capsys):
    root = folder(tmp_path / "x", {"train/cat": 4, "train/dog": 5, "val/cat": 2, "val/dog": 1, "test/cat": 1, "test/dog": 2})
    photo = Image.open(shared_photo(tmp_path)).convert("RGB")
    save(photo.resize((20_000, 1_000)), root / "train/cat/panorama.jpg")
    save(photo.convert("CMYK"), root / "train/dog/cmyk.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    (root / "test/dog/rotated.jpg").write_bytes(content(photo.transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif))
    (root / "train/dog/notes.txt").write_text("not a photo")
    report, _ = run(root, tmp_path, image_size=64, leaks="report")
    assert report["train_images"] == 11
    assert report["ignored_files"] == 1
    assert report["leaked_images"] >= 1, "the turned photo is that in CMYK"
    assert "Traceback" not in capsys.readouterr().err


def test_a_line_of_pixels_is_one_clear_line(tmp_path):
    root = folder(tmp_path / "x", {"train/cat": 4, "train/dog": 5, "val/cat": 2, "val/dog": 1, "test/cat": 1, "test/dog": 2})
    save(Image.new("RGB", (20_000, 100), "red"), root / "train/cat/panorama.jpg")
    with pytest.raises(ValueError, match=r"panorama\.jpg: 20000 x 100 pixels, one side more than 100 times the other$"):
        run(root, tmp_path, leaks="report")
    report, _ = run(root, tmp_path, leaks="report", max_broken=1)
    assert report["broken_images"] == 1


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ({"cat": 2, "dog": 2}, r"/cat: 2 images; a class needs 3$"),
        ({"cat": 4}, r": only one class, cat$"),
        ({"cat": 3, "dog": 1}, r"/dog: 1 images; a class needs 3$"),
    ],
)
def test_four_photos(tmp_path, layout, message):
    contents = iter(photos(prefix="train/Kiwi/", most=4).values())
    files = {f"{kind}/{i}.jpg": next(contents) for kind, count in layout.items() for i in range(count)}
    root = write(tmp_path / "x", files)
    (root / "readme.txt").write_text("four photos")
    with pytest.raises(ValueError, match=message) as raised:
        run(root, tmp_path, val_images=1, test_images=1)
    assert "\n" not in str(raised.value)


def test_other_sets_are_not_compared(tmp_path):
    """Small images of one format collide: a report says that they were not looked at."""
    path = idx_folder(tmp_path)
    given = params(path, dataset="idx", image_size=None, val_images=10)
    report = prepare(given, 0, tmp_path, tmp_path / "out.npz", tmp_path / "faults")
    assert json.loads((tmp_path / "faults/faults.json").read_text()) == {"checked": False}
    assert "leaked_images" not in report


def shared_photo(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(next(iter(photos("images/imagenet_photos.zip", most=1).values())))
    return path
