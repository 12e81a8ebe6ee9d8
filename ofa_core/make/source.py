"""Where this version's pipeline lies: stages, dvc.yaml, profiles."""

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from ofa_core.run.errors import InputError

SHIPPED = "share/ofa_core/dvc.yaml"
"""A file of the pipeline in an installed package; see [tool.setuptools.data-files] in pyproject.toml."""


def root() -> tuple[Path, Path]:
    """The folder with dvc.yaml, stages/, params/ and docs/, and the folder ofa_core.

    In a clone and an editable installation both are in the repository. An installed package has the first beside its own
    environment's files. Raises InputError if it was built without them.
    """
    package = Path(__file__).resolve().parent.parent
    if (package.parent / "dvc.yaml").is_file() and (package.parent / "stages").is_dir():
        return package.parent, package
    try:
        shipped = [file for file in distribution("ofa_core").files or () if str(file).endswith(SHIPPED)]
    except PackageNotFoundError:
        shipped = []
    for file in shipped:
        path = Path(str(file.locate())).resolve()
        if path.is_file():
            return path.parent, package
    raise InputError(f"{package}: installed without the pipeline's stages and dvc.yaml; install ofa_core from a whole clone")
