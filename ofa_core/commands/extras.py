"""Packages that `pip install ofa_core` leaves out, and the extras that bring them."""

EXTRAS: dict[str, tuple[str, ...]] = {
    "detection": ("pycocotools",),
    "train": ("filelock", "pandas", "pydantic", "ruamel.yaml", "safetensors", "scipy", "torch", "tqdm"),
    "export": ("onnx", "onnxruntime", "onnxscript", "tensorflow"),
    "pipeline": ("dvc", "matplotlib"),
}
"""Modules by the extra that brings them, as in pyproject.toml. Each extra includes those before it."""


def advice(command: str, module: str, extra: str | None) -> str:
    """One line about a module that a command could not import.

    module: its dotted name. extra: the one that the command needs; None if a plain installation should do.
    """
    order = list(EXTRAS)
    package, found = module.partition(".")[0], extra
    for name, modules in EXTRAS.items():
        for known in modules:
            if known.partition(".")[0] == package:
                package = known
                found = name if found is None else max(found, name, key=order.index)
    wanted = f"'ofa_core[{found}]'" if found else "ofa_core"
    return f"ofa {command} needs {package}, which is not installed: pip install {wanted}"
