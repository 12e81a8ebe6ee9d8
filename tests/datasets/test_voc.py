"""Pascal VOC's XML: layouts, ImageSets, and what is unsafe or wrong with a file."""

import pytest

from ofa_core.datasets import voc
from ofa_core.images.tree import Tree
from ofa_core.run.errors import InputError
from tests.annotated import photos, voc_xml, write

BOX = ("cat", 1, 2, 11, 7)


def read(path):
    with Tree(path) as tree:
        return voc.read(tree)


def labelled(root, names, images="JPEGImages", xml="Annotations"):
    """Images with one box each."""
    photos(root / images, *(f"{name}.png" for name in names))
    for name in names:
        write(root / xml / f"{name}.xml", voc_xml(f"{name}.png", BOX))
    return root


@pytest.mark.parametrize(("images", "xml"), [("JPEGImages", "Annotations"), ("", ""), ("a/b", "some folder/deep")])
def test_xml_beside_the_images_or_anywhere(tmp_path, images, xml):
    labelled(tmp_path, ["1", "2"], images, xml)
    write(tmp_path / xml / "2.xml", voc_xml("2.png"))
    found = read(tmp_path)
    assert (found.classes, found.ids, list(found.splits)) == (("cat",), None, ["train"])
    first, second = found.splits["train"]
    assert (first.image, first.size) == (f"{images}/1.png".lstrip("/"), (20, 40))
    assert first.boxes.tolist() == [[2, 1, 7, 11]]
    assert (first.labels, first.fields) == (("cat",), ("object[0].name",))
    assert second.boxes.shape == (0, 4), "an image without boxes"


def test_image_sets_say_the_splits(tmp_path):
    labelled(tmp_path, ["1", "2", "3", "4", "5"])
    sets = tmp_path / "ImageSets/Main"
    for name, lines in {"train": "1\n\n2 \n", "val": "3", "test": "5\n", "trainval": "1\n2\n3\n", "cat_train": "9 -1"}.items():
        write(sets / f"{name}.txt", lines)
    images = {split: [one.image[-5] for one in of] for split, of in read(tmp_path).splits.items()}
    assert images == {"train": ["1", "2"], "val": ["3"], "test": ["5"]}
    (sets / "train.txt").unlink()
    (sets / "val.txt").unlink()
    images = {split: [one.image[-5] for one in of] for split, of in read(tmp_path).splits.items()}
    assert images == {"train": ["1", "2", "3"], "test": ["5"]}
    write(sets / "test.txt", "1\n")
    with pytest.raises(InputError, match=r"1\.xml: JPEGImages/1\.png of test is already in train"):
        read(tmp_path)
    write(sets / "test.txt", "77\n")
    with pytest.raises(InputError, match=r"ImageSets/Main/test\.txt: 77: there are 0 files 77\.xml"):
        read(tmp_path)


def test_folders_say_the_splits(tmp_path):
    """Images of the splits may have equal names."""
    for split in ("train", "valid", "test"):
        labelled(tmp_path, ["1"], f"images/{split}", f"labels/{split}")
    images = {split: [one.image for one in of] for split, of in read(tmp_path).splits.items()}
    assert images == {"test": ["images/test/1.png"], "train": ["images/train/1.png"], "val": ["images/valid/1.png"]}
    labelled(tmp_path, ["9"], "images/train", "labels")
    with pytest.raises(InputError, match=r"labels/9\.xml: in none of the folders test, train, val"):
        read(tmp_path)


def test_images_are_found_by_the_files_name_and_then_by_the_field(tmp_path):
    photos(tmp_path, "1.png", "other.png", "third.png")
    write(tmp_path / "1.xml", voc_xml("other.png", BOX))
    write(tmp_path / "x.xml", voc_xml("C:\\photos\\other.png", BOX))
    write(tmp_path / "y.xml", voc_xml("third", BOX))
    assert [one.image for one in read(tmp_path).splits["train"]] == ["1.png", "other.png", "third.png"]
    write(tmp_path / "z.xml", voc_xml("gone.png", BOX))
    with pytest.raises(InputError, match=r"/z\.xml: filename: no image gone\.png in "):
        read(tmp_path)


def test_difficult_objects_count_as_crowds(tmp_path):
    labelled(tmp_path, ["1"])
    text = (tmp_path / "Annotations/1.xml").read_text()
    write(tmp_path / "Annotations/1.xml", text.replace("</name>", "</name><difficult>1</difficult>"))
    assert read(tmp_path).splits["train"][0].crowd.tolist() == [True]


ENTITY = '<!DOCTYPE annotation [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
FILE = '<!DOCTYPE annotation [<!ENTITY a SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize(
    "head", [ENTITY, FILE, "<!DOCTYPE annotation>", '<!DOCTYPE annotation SYSTEM "http://127.0.0.1/x.dtd">']
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_document_types_are_refused(tmp_path, head, encoding):
    photos(tmp_path, "1.png")
    head = f'<?xml version="1.0" encoding="{encoding}"?>{head}'
    (tmp_path / "1.xml").write_bytes(
        voc_xml("1.png", BOX, head=head).replace("cat", "&a;" if "ENTITY" in head else "cat").encode(encoding)
    )
    with pytest.raises(InputError, match=rf"^{tmp_path}/1\.xml: unsafe XML: it has a document type \(<!DOCTYPE>\)$"):
        read(tmp_path)


def without(key):
    text = voc_xml("1.png", BOX)
    start, end = text.index(f"<{key}>"), text.index(f"</{key}>") + len(f"</{key}>")
    return text[:start] + text[end:]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"not XML \(no element found"),
        ("no xml", r"not XML \(syntax error"),
        (voc_xml("1.png", BOX)[:-20], r"not XML \("),
        (voc_xml("1.png", ("&nbsp;", 1, 2, 3, 4)), r"not XML \(undefined entity"),
        (voc_xml("1.png", BOX, head='<?xml version="1.0" encoding="nonsense"?>'), r"not XML \(unknown encoding"),
        (without("bndbox"), r"object\[0\]\.bndbox: missing"),
        (without("ymin"), r"object\[0\]\.bndbox\.ymin: missing"),
        (without("name"), r"object\[0\]\.name: missing"),
        (voc_xml("1.png", BOX, ("cat", 1, "two", 3, 4)), r"object\[1\]\.bndbox\.ymin: 'two' is not a number"),
        (voc_xml("1.png", ("cat", 1, 2, "nan", 4)), r"object\[0\]\.bndbox\.xmax: 'nan' is not a number"),
        (voc_xml("1.png", ("cat", 1, 2, "1e999", 4)), r"object\[0\]\.bndbox\.xmax: '1e999' is not a number"),
        (voc_xml("1.png", BOX, size=("wide", 3)), r"size\.width: 'wide' is not a number"),
    ],
)
def test_the_faulty_field_is_named(tmp_path, content, message):
    photos(tmp_path, "1.png")
    write(tmp_path / "1.xml", content)
    with pytest.raises(InputError, match=rf"^{tmp_path}/1\.xml: {message}") as raised:
        read(tmp_path)
    assert "\n" not in str(raised.value)


def test_a_class_that_train_lacks(tmp_path):
    for split, name in (("train", "cat"), ("test", "cta")):
        photos(tmp_path / split, f"{split}.png")
        write(tmp_path / split / f"{split}.xml", voc_xml(f"{split}.png", (name, 1, 2, 3, 4)))
    with pytest.raises(InputError, match=r"test/test\.xml: object\[0\]\.name: train has no class 'cta'"):
        read(tmp_path)


def test_no_xml_and_sizes_of_zero(tmp_path):
    photos(tmp_path, "1.png")
    with pytest.raises(InputError, match=r"no \.xml files"):
        read(tmp_path)
    write(tmp_path / "1.xml", voc_xml("1.png", BOX, size=(0, 0)))
    assert read(tmp_path).splits["train"][0].size is None
