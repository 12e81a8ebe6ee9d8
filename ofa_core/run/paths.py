"""Paths of the pipeline's files, relative to the repository root, where DVC runs the stages."""

from pathlib import Path

RAW = Path("data/raw")


IMAGE_INDEX = Path("data/images.index")


BUILD = Path("build")


REPORTS = Path("reports")


RELEASE = Path("release")


WORK = Path(".work")


DATASET = BUILD / "data/classification.npz"


DATASET_FACTS = BUILD / "data/dataset.json"
"""A data set's name, licence and classes, for stages that need no images."""


IMAGE_NAMES = BUILD / "data/names.json"
"""Names of the images by split, in their order; empty if they are not files of a folder."""


DETECTOR = BUILD / "detector"
"""Everything that stages of detection write."""


DETECTION_INDEX = Path("data/detection.index")


DETECTION = DETECTOR / "data/detection.npz"


DETECTION_FACTS = DETECTOR / "data/dataset.json"
"""Like `DATASET_FACTS`, for the images with boxes."""


DETECTOR_SUPERNET = DETECTOR / "supernet.safetensors"


DETECTOR_SCORES = DETECTOR / "average_precisions"
"""Measured average precisions of detectors, and the space in which they were measured."""


PSEUDO_LABELS = DETECTOR / "pseudo_labels.json"
"""COCO results for the unlabelled images."""


CHOSEN_DETECTORS = DETECTOR / "chosen"


PRETRAINED = BUILD / "pretrained"


STARTING = PRETRAINED / "weights.safetensors"
"""The weights that training starts from; not there where it starts from random ones."""


SUPERNET = BUILD / "supernet"


ACCURACIES = BUILD / "accuracies"
"""Measured accuracies, and the space in which they were measured."""


PREDICTORS = BUILD / "predictor"


LATENCY = BUILD / "latency"


SEARCH = BUILD / "search"


CHOSEN = BUILD / "chosen"


SPECIALIZED = BUILD / "specialized"


EXPORTED = BUILD / "exported"


BASELINES = BUILD / "baselines"


SUFFIXES = {
    "uint8": ".tflite",
    "int8": "_int8.tflite",
    "dynamic": "_dynamic.tflite",
    "float16": "_float16.tflite",
    "float": "_float.tflite",
    "saved_model": "_saved_model.zip",
    "frozen": "_frozen.pb",
    "onnx": ".onnx",
    "torch": ".safetensors",
    "labels": ".labels.txt",
}
"""The end of a model file's name, by kind of file. It is the same in export folders and in a release."""


FETCHED = "fetched.json"
"""File that `ofa fetch` puts beside a network's files: its name, and the normalisation of its pixels."""


DETAILS = "_details.json"
"""The suffix of a report with everything that is not a metric."""


def is_path(text: str) -> bool:
    """Whether a parameter that may be a name or a path is a path: it has a slash or a suffix. The end of w1.2 is none."""
    return "/" in text or Path(text).suffix[1:2].isalpha()


def detection_annotations(split: str) -> Path:
    """The instances JSON of a split of the images with boxes."""
    return DETECTION.with_name(f"{split}.json")


def supernet(phase: str) -> Path:
    """The weights after a training phase; `full`: of the full network."""
    return SUPERNET / f"{phase}.safetensors"


def predictor(of: str = "top1") -> Path:
    """The accuracy predictor; `int8_top1`: for 8-bit networks, if any were measured."""
    return PREDICTORS / f"{of}.npz"


def latency_table(device: str) -> Path:
    """The latency table of a device."""
    return LATENCY / f"{device}.json"


def detector_table(device: str) -> Path:
    """The latency table of a device for the layers of detectors."""
    return DETECTOR / f"latency/{device}.json"


def chosen_detector(target: str) -> Path:
    """The detector chosen for a target."""
    return CHOSEN_DETECTORS / f"{target}.json"


def tuned_detector(target: str, quantization: str) -> Path:
    """A target's detector after fine-tuning (post), or trained with quantisation (aware)."""
    return DETECTOR / f"{target}/{quantization}.safetensors"


def exported_detector(target: str) -> str:
    """A detector's name among the exported networks and in the release."""
    return f"det-{target}"


def detector_metrics(target: str) -> Path:
    """The metrics of an exported detector. They lie beside its folder, so that a release needs no folder of detection."""
    return EXPORTED / f"{exported_detector(target)}.metrics.json"


def searched(target: str) -> Path:
    """What the search found for a target."""
    return SEARCH / f"{target}.json"


def chosen(target: str) -> Path:
    """The network chosen for a target among the best that the search found."""
    return CHOSEN / f"{target}.json"


def specialized(target: str) -> Path:
    """The folder of a target's stand-alone networks."""
    return SPECIALIZED / target


def specialized_file(target: str, quantization: str) -> Path:
    """A target's network, to be quantised after training (post) or trained with quantisation (aware)."""
    return specialized(target) / f"{quantization}.safetensors"


def exported(target: str) -> Path:
    """The folder of a target's exported files."""
    return EXPORTED / target


def exported_name(kind: str) -> str:
    """The name of an exported file; kind: a key of `SUFFIXES`, or `description` for its JSON."""
    return f"model{'.json' if kind == 'description' else SUFFIXES[kind]}"


def exported_file(target: str, kind: str) -> Path:
    """One of a target's exported files; kind as in `exported_name`."""
    return exported(target) / exported_name(kind)


def report(stage: str, item: str | None = None, suffix: str = ".json") -> Path:
    """The metrics (.json), other values (`DETAILS`) or plot data (.csv) of a stage, or of one item of it."""
    return REPORTS / (f"{stage}{suffix}" if item is None else f"{stage}/{item}{suffix}")
