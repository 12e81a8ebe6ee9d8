"""Which files of the repository a stage imports, directly or not: what its `deps` in dvc.yaml must list.

`python -m tests.import_closure` writes the code dependencies of every stage into dvc.yaml.
"""

import ast
import re
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
PACKAGES = ("ofa_core", "stages")


def import_closure(script: Path) -> list[str]:
    """Paths, relative to the repository and sorted, of `script` and all modules of ours that it imports.

    Imports inside functions count; those for type checking only do not. Empty `__init__.py` files are left out.
    """
    found: set[Path] = set()
    todo = [script]
    while todo:
        path = todo.pop()
        if path not in found and path.stat().st_size:
            found.add(path)
            todo += _imported(ast.parse(path.read_text()))
    return sorted(str(path.relative_to(REPO)) for path in found)


def _imported(tree: ast.AST) -> list[Path]:
    names: list[str] = []
    skipped: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            skipped.update(inner for child in node.body for inner in ast.walk(child))
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [path for name in names if name.partition(".")[0] in PACKAGES for path in _files(name)]


def _files(name: str) -> list[Path]:
    """The module of a dotted name, if it is one, and the `__init__.py` of the packages above it."""
    parts = name.split(".")
    candidates = [REPO.joinpath(*parts[:i], "__init__.py") for i in range(1, len(parts) + 1)]
    candidates.append(REPO.joinpath(*parts).with_suffix(".py"))
    return [path for path in candidates if path.is_file()]


def with_dependencies(pipeline: str) -> str:
    """The text of dvc.yaml with the code dependencies of every stage as they are now; everything else stays as it is."""
    blocks = re.split(r"(?m)^(?=  \w+:$)", pipeline)
    for i, block in enumerate(blocks):
        found = re.match(r"  (\w+):\n", block)
        listed = re.search(r"(?m)^( +)deps:\n((?:\1  - .*\n)+)", block)
        if found and listed:
            indent = f"{listed[1]}  - "
            data = [line for line in listed[2].splitlines() if not line.endswith(".py")]
            code = [indent + path for path in import_closure(REPO / f"stages/{found[1]}.py")]
            blocks[i] = block[: listed.start(2)] + "\n".join([*data, *code]) + "\n" + block[listed.end(2) :]
    return "".join(blocks)


if __name__ == "__main__":
    path = REPO / "dvc.yaml"
    path.write_text(with_dependencies(path.read_text()))
