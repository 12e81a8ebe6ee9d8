"""Large sets in shards: same images as in memory, written completely or not at all, read in little memory."""

import hashlib
import io
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ofa_core.datasets.prepare import prepare
from ofa_core.images.decode import centre, decode
from ofa_core.images.packed import SPLITS, load_split
from ofa_core.images.resize import resize
from ofa_core.images.shards import MANIFEST, Shards, ShardWriter
from ofa_core.images.tree import Tree
from ofa_core.nn import build_supernet
from ofa_core.run import files
from ofa_core.training.augment import augment
from ofa_core.training.evaluation import Evaluator
from ofa_core.training.images import Batches, Images, TrainStream
from tests.conftest import REPO, shared_data
from tests.pictures import SPLIT, folder, params, run
from tests.small_training import SHARED, SPACE, state_bytes, train_supernet

SIDE = 24


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Real photos by kind of storage: in memory, or packed with png or jpeg shards."""
    archive, packed = shared_data("images/cifar10_jpg.zip"), {}
    for kind in ("memory", "png", "jpeg"):
        packed[kind] = tmp_path_factory.mktemp(kind) / "data.npz"
        chosen = params(
            archive,
            image_size=SIDE,
            train_images=200,
            val_images=60,
            test_images=50,
            leaks="report",
            shards=None if kind == "memory" else kind,
        )
        prepare(chosen, 0, packed[kind].parent, packed[kind])
    return packed


def test_shards_are_ordinary_archives_with_a_manifest(photos: dict[str, Path]) -> None:
    shards = photos["png"].parent / "shards"
    manifest = files.read_json(shards / MANIFEST)
    assert (manifest["format"], manifest["side"]) == ("png", SIDE)
    assert [shard["split"] for shard in manifest["shards"]] == list(SPLITS)
    assert sorted(path.name for path in shards.iterdir()) == sorted([MANIFEST, *(s["name"] for s in manifest["shards"])])
    for shard in manifest["shards"]:
        content = (shards / shard["name"]).read_bytes()
        assert hashlib.md5(content).hexdigest() == shard["md5"]
        assert len(content) == shard["bytes"]
        expected = load_split(photos["memory"], shard["split"])
        with tarfile.open(shards / shard["name"]) as archive:
            names = archive.getnames()
            assert names[:2] == [f"{shard['split']}-0000000.png", f"{shard['split']}-0000000.cls"]
            assert len(names) == 2 * shard["images"] == 2 * len(expected.labels)
            for i, label in enumerate(expected.labels):
                image, text = (archive.extractfile(name) for name in names[2 * i : 2 * i + 2])
                assert image is not None
                assert text is not None
                assert (np.asarray(Image.open(io.BytesIO(image.read()))) == expected.images[np.array([i])][0]).all()
                assert int(text.read()) == label


def test_images_are_those_in_memory(photos: dict[str, Path]) -> None:
    for split in SPLITS:
        memory, sharded = Images(photos["memory"], split), Images(photos["png"], split)
        assert isinstance(sharded.images, Shards)
        assert sharded.classes == memory.classes
        assert (sharded.labels == memory.labels).all()
        some = np.random.default_rng(0).integers(len(memory), size=37)
        for resolution in (20, SIDE):
            assert (sharded.at(resolution)[some] == memory.at(resolution)[some]).all()
            assert (resize(sharded.images, resolution) == resize(memory.images, resolution)).all()
            assert sharded.at(resolution).shape == memory.at(resolution).shape
            for indices in (None, some):
                batches = [images.batches(resolution, 16, indices) for images in (memory, sharded)]
                assert isinstance(batches[1], Batches)
                assert len(batches[0]) == len(batches[1])
                for (x, labels), (y, others) in zip(*batches, strict=True):
                    assert torch.equal(x, y)
                    assert torch.equal(labels, others)
                assert torch.equal(batches[0][-1][0], batches[1][-1][0])
        assert (sharded.images[:5] == memory.images[:5]).all()


def test_steps_see_the_same_images_in_any_order(photos: dict[str, Path]) -> None:
    """Reading ahead does not change the images, neither across epochs nor when training goes back."""
    memory, sharded = (TrainStream(Images(photos[kind], "train"), 32, [3]) for kind in ("memory", "png"))
    for step in (0, 1, 2, 5, 6, 7, 3, 4, 30):
        assert torch.equal(memory.pixels(step, 20, True), sharded.pixels(step, 20, True))
    # Without crops, images in memory are resized to bytes beforehand. Images in shards are resized with the batch.
    plain = replace(SHARED, max_shift=0.0)
    x, y = (augment(s.pixels(8, 20, False), np.random.default_rng(0), plain, 20) for s in (memory, sharded))
    assert (x - y).abs().max() * 127.5 <= 1.01


def test_training_from_shards_is_training_from_memory(photos: dict[str, Path], tmp_path: Path) -> None:
    crops = replace(SHARED, crop_scale=(0.3, 1.0), saturation=0.5)
    states, accuracies = [], []
    for kind in ("memory", "png"):
        images, val = Images(photos[kind], "train"), Images(photos[kind], "val")
        torch.manual_seed(0)
        net = build_supernet(SPACE, 10, dropout=0.1)
        train_supernet(net, images, tmp_path / kind, shared=crops)
        states.append(state_bytes(net))
        accuracies.append(Evaluator(images, val, 64, seed=0).subnet_score(net, SPACE.largest(20)))
    assert states[0] == states[1]
    assert accuracies[0] == accuracies[1]


def test_jpeg_is_smaller_and_close(photos: dict[str, Path], tmp_path: Path) -> None:
    """Uses photos of the size that shards are meant for."""
    archive, sizes = shared_data("images/imagenet_photos.zip"), {}
    with Tree(archive) as tree:
        names = [name for name in tree.files if name.startswith("images/")][:20]
        pixels = np.stack([np.asarray(centre(decode(tree.read(name)), 224, (224, 224))) for name in names])
    for kind in ("png", "jpeg"):
        with ShardWriter(tmp_path / kind, kind, 224) as writer:
            for image in pixels:
                writer.add("train", writer.encode(image), 0)
        stored = writer.stored("train")
        sizes[kind] = stored.places[:, 2].sum()
        error = Shards(tmp_path / kind, stored)[:].astype(float) - pixels
        assert np.sqrt((error**2).mean()) < (6 if kind == "jpeg" else 1e-9)
    assert sizes["jpeg"] < sizes["png"] / 3


def test_equal_images_give_equal_bytes_and_several_shards(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(256, size=(30, 8, 8, 3), dtype=np.uint8)
    digests = []
    for name in ("a", "b"):
        with ShardWriter(tmp_path / name, "png", 8, most_bytes=16 * 1024) as writer:
            for i, image in enumerate(images):
                writer.add("train" if i < 20 else "val", writer.encode(image), i)
        digests.append([files.md5(path) for path in sorted((tmp_path / name).iterdir())])
    assert digests[0] == digests[1]
    assert [name for name in writer.stored("val").names if name.startswith("train")] == [
        "train-00000.tar", "train-00001.tar", "train-00002.tar",
    ]  # fmt: skip
    for split, part in (("train", images[:20]), ("val", images[20:])):
        assert (Shards(tmp_path / "b", writer.stored(split))[:] == part).all()


def test_nothing_is_left_of_a_set_that_fails(tmp_path: Path) -> None:
    root = folder(tmp_path / "x", SPLIT)
    (root / "test/dog/broken.png").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"1 broken images, more than prepare\.max_broken: 0"):
        run(root, tmp_path, shards="png")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    # A killed run leaves an incomplete folder. The next run removes it.
    (tmp_path / ".shards.tmp").mkdir()
    (tmp_path / ".shards.tmp/train-00000.tar").write_bytes(b"half")
    # Old shards are removed when the new set is one file.
    metrics, splits = run(root, tmp_path, shards="png", max_broken=1)
    assert metrics["broken_images"] == 1
    assert splits["test"].images.shape == (3, 8, 8, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dataset.json", "names.json", "out.npz", "shards", "x"]
    run(root, tmp_path, max_broken=1)
    assert not (tmp_path / "shards").exists()


def test_missing_and_damaged_shards_are_named(tmp_path: Path) -> None:
    run(folder(tmp_path / "x", SPLIT), tmp_path, shards="png")
    path, packed = tmp_path / "shards/train-00000.tar", tmp_path / "out.npz"
    whole = path.read_bytes()
    place = load_split(packed, "train").images.stored.places[4]  # type: ignore[union-attr]
    path.write_bytes(whole[: place[1] + 20] + b"????" + whole[place[1] + 24 :])
    with pytest.raises(ValueError, match=rf"^{path}: image 4 at byte {place[1]}: "):
        load_split(packed, "train").images[:]
    path.write_bytes(whole[:-512])
    with pytest.raises(ValueError, match=rf"^{path}: {len(whole) - 512} bytes; the data set says {len(whole)}$"):
        load_split(packed, "train")
    path.unlink()
    with pytest.raises(ValueError, match=rf"^{path}: No such file or directory$"):
        load_split(packed, "train")
    assert len(load_split(packed, "val").labels) == 3, "other splits are complete"


PROGRAM = """
import sys
from dataclasses import replace
from pathlib import Path
import numpy as np
import torch
from ofa_core.datasets.prepare import prepare
from ofa_core.training.augment import augment
from ofa_core.training.images import Images, TrainStream
from tests.pictures import params
from tests.small_training import SHARED

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 1024

torch.set_num_threads(1)
archive, out, what = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
crops = replace(SHARED, crop_scale=(0.08, 1.0))
augment(torch.zeros(64, 32, 32, 3, dtype=torch.uint8), np.random.default_rng(0), crops, 28)
before = peak()
if what == "prepare":
    chosen = params(archive, image_size=32, val_images=5000, leaks="report", shards="jpeg")
    print(prepare(chosen, 0, out.parent, out)["train_images"])
else:
    images, val = Images(out, "train"), Images(out, "val")
    stream = TrainStream(images, 64, [0])
    for step in range(150):
        augment(stream.pixels(step, 28, True), np.random.default_rng(step), crops, 28)
    print(sum(len(labels) for _, labels in val.batches(28, 500)))
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_peak_memory_of_sixty_thousand_images(tmp_path: Path) -> None:
    """Preparing and reading all of CIFAR-10 (184 MB as arrays) takes less than 60 % of that, on top of the libraries.

    Resident memory varies: the same code took 61 MB and 69 MB to read within a minute.
    """
    archive, peaks = shared_data("images/cifar10_jpg.zip"), {}
    for what, count in (("prepare", "45000"), ("train", "5000")):
        command = [sys.executable, "-c", PROGRAM, str(archive), str(tmp_path / "data.npz"), what]
        done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=True)
        found, peak = done.stdout.split()
        assert found == count
        peaks[what] = float(peak)
    print(peaks)
    assert peaks["prepare"] < 110
    assert peaks["train"] < 92
