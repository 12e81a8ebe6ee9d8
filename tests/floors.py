"""The folders of ofa_core and their allowed imports: `python -m tests.floors` prints them, lowest first.

Imports go down: a folder imports only folders listed before it. Inside a folder, modules may import each other, but not in a
circle.
"""

import ast
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
PACKAGE = REPO / "ofa_core"

FLOORS = {
    "run": "parameters, paths, files and the frame of every stage; no stage depends on it",
    "space": "architectures, layers and what they lower to, search spaces, costs, stock networks",
    "images": "decoding, resizing, packed data sets and shards",
    "sheets": "contact sheets of thumbnails, for people to look at",
    "detection": "boxes in NumPy: anchors, their coding and matching, what becomes a detection",
    "tasks": "what a task, such as classification, asks of training, files, scores and cards",
    "datasets": "published and own data sets, read by the stages that prepare them",
    "examine": "labels that are probably wrong",
    "nn": "elastic and stand-alone networks in torch, their weights, official checkpoints",
    "pretrained": "weights that training starts from: from packages, published checkpoints, own files",
    "training": "the training loop, its images, checkpoints and processes",
    "detectors": "training of detectors: images with boxes, SSD's losses, average precision of networks",
    "baselines": "networks trained one by one, to compare with",
    "quantization": "fake quantisation and activation ranges in torch",
    "specialize": "fine-tuning of searched networks",
    "predictor": "the accuracy predictor",
    "accuracies": "measured accuracies of sub-networks",
    "runtime": "a TFLite file run and timed, here or on a phone",
    "latency": "latency tables: reading them and adding them up",
    "convert": "from a network to the bytes of a file; TensorFlow is imported here only",
    "measure": "building latency tables",
    "choose": "one of the best networks of a search, chosen by measuring",
    "release": "the released folder: cards, manifest, checksums",
    "export": "all files of a network, and the gates that stop them",
    "detector_export": "files of detectors: the operator that turns outputs into boxes",
    "evaluation": "accuracy and latency of finished files",
    "search": "the best sub-network within a budget",
    "detector_search": "the best detector within a budget: the search and the choice, with the time of the last operator",
    "detector_tuning": "what makes a searched detector better: pseudo-labels, fine-tuning, quantisation-aware training",
    "detector_evaluation": "average precision and latency of finished detectors",
    "zoo": "what others published, and fetching it",
    "report": "comparisons, plots, challenge scores",
    "profiles": "whole parameter files: their sections, checks and variants",
    "make": "a folder of photos to a whole project: survey, plan, project, progress",
    "commands": "the command `ofa`",
}
"""Folders and their content, lowest first."""


def modules() -> dict[str, Path]:
    """Every module of ofa_core by its dotted name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(REPO).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def room(name: str) -> str:
    """The folder of a dotted module name; "" for the package itself."""
    return f"{name}.".split(".")[1]


def imports(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """The modules among `known` that a file imports, anywhere in it, also just for type checking."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module in known:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in known else node.module


def graph() -> dict[str, set[str]]:
    """What each module imports from ofa_core."""
    known = modules()
    return {name: set(imports(path, known)) - {name} for name, path in known.items()}


def circle() -> list[str]:
    """Modules that import each other in a circle; [] if there are none."""
    try:
        TopologicalSorter(graph()).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def climbing() -> list[str]:
    """Imports that do not go down, one line each."""
    order, lines = list(FLOORS), []
    for name, imported in graph().items():
        for other in sorted(imported):
            if room(other) and room(name) != room(other) and order.index(room(other)) > order.index(room(name)):
                lines.append(f"{name} imports {other}")
    return lines


def main() -> int:
    """Prints the folders with their imports, then any violations. The exit code is 1 if there are any."""
    used: dict[str, set[str]] = {name: set() for name in FLOORS}
    for name, imported in graph().items():
        used.get(room(name), set()).update(room(other) for other in imported if room(other) not in ("", room(name)))
    for number, (name, about) in enumerate(FLOORS.items(), 1):
        print(f"{number:2}  {name:<13}{about}")
        if used[name]:
            print(f"{'':17}imports {', '.join(sorted(used[name], key=list(FLOORS).index))}")
    wrong = climbing() + [" imports ".join(circle())] * bool(circle())
    print("\n".join(wrong) if wrong else "no import goes up, and there is no circle")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
