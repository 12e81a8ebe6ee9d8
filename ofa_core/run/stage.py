"""What every pipeline stage shares: parameters, inputs that must not change during the run, a work folder to resume from.

DVC hashes a stage's dependencies after its command has ended. It would record an input that was edited during the run.
`Stage` therefore hashes inputs, code and parameters when it reads them, and fails if they differ at the end.
"""

import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ofa_core.run import files, paths
from ofa_core.run.errors import InputError
from ofa_core.run.machine import MachineParams
from ofa_core.run.params import ParamsFile

METRICS = ("top1", "map", "loss", "rmse_points", "mape", "latency_ms")
"""What `dvc metrics show` lists: few enough to fit a terminal. Each name has one unit in all stages.

top1         share of images, 0..1: of the largest sub-network, of a target's network, of its uint8 file, or of the best
             sub-network that was measured
map          the same for detectors: COCO's mean average precision
loss         of training, mean of the last steps
rmse_points  of predicted top1, in points of 100
mape         of predicted latencies, mean absolute error as a share
latency_ms   measured, in milliseconds
"""


class Stage:
    """One run of a stage; made by `running`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.params = ParamsFile("params.yaml")
        self._hashes = {path: files.md5(path) for path in _code()}
        self._locks = ExitStack()
        self._finished: list[Path] = []  # work folders that are no longer needed once the stage has succeeded

    def machine(self) -> MachineParams:
        """Section `machine`. It changes no result, may be edited during a run, and does not affect the work folder."""
        return self.params.peek("machine", MachineParams)

    def input(self, path: Path) -> Path:
        """Declares a file or folder that the stage reads; returns it. Raises InputError if it does not exist."""
        for file in _expand(path):
            self._hashes[file] = files.md5(file)
        return path

    def write_report(self, values: Mapping[str, Any]) -> None:
        """Writes what the stage found: the keys of `METRICS` as its metrics, all others as its details."""
        stage, _, item = self.name.partition("@")
        found = {key: value for key, value in values.items() if key in METRICS}
        files.write_json(paths.report(stage, item or None), found)
        files.write_json(paths.report(stage, item or None, paths.DETAILS), {k: v for k, v in values.items() if k not in found})

    def report(self, name: str, item: str | None = None) -> dict[str, Any]:
        """Declares the report of another stage, or of one of its items, as input; returns its metrics and details together."""
        both = [self.input(paths.report(name, item, suffix)) for suffix in (".json", paths.DETAILS)]
        return {key: value for path in both for key, value in files.read_json(path).items()}

    def reports(self, name: str, items: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Declares the reports of these items of another stage as inputs; returns them by item, as `report` does.

        A folder of reports may also have those of items that params.yaml no longer names.
        """
        return {item: self.report(name, item) for item in items}

    def pinned(self, path: Path, md5: str | None, key: str) -> Path:
        """Declares an input from outside the pipeline, whose MD5 is the parameter `key`; returns it.

        Raises InputError, naming the key, if the file is missing or has another MD5.
        """
        found = files.md5(self.input(path))
        if found != md5:
            raise InputError(f"{self.params.path}: {key}: {md5}: the MD5 of {path} is {found}")
        return path

    @contextmanager
    def work_folder(self, owner: bool = True) -> Iterator[Path]:
        """A folder for checkpoints, the same whenever the stage runs with these parameters, inputs and code.

        Call it after reading all parameters and inputs. The folder is locked until the run ends: raises InputError if another
        process works in it. If the block ends without an exception, the folder is deleted, but not before `check_unchanged`:
        where an edit during the run is taken back, the next run goes on from the checkpoints. owner: False in the other
        processes of a run, which neither lock nor delete it.
        """
        content = {str(path): digest for path, digest in self._hashes.items()} | {"params": self.params.used}
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        folder = paths.WORK / f"{self.name.replace('@', '-')}-{digest[:16]}"
        folder.mkdir(parents=True, exist_ok=True)
        if not owner:
            yield folder
            return
        lock = FileLock(folder.with_suffix(".lock"))
        try:
            self._locks.enter_context(lock.acquire(timeout=0))
        except Timeout:
            raise InputError(f"{folder}: another process is working here; wait for it or stop it") from None
        yield folder
        self._finished.append(folder)

    def check_unchanged(self) -> None:
        """Raises InputError that names the inputs, code files or parameters that have changed."""
        changed = [str(path) for path, digest in self._hashes.items() if not path.is_file() or files.md5(path) != digest]
        changed += [f"{self.params.path}: {name}" for name in self.params.changed()]
        if changed:
            raise InputError(f"{self.name}: changed while the stage ran, so nothing is recorded: {', '.join(changed)}")


@contextmanager
def running(name: str) -> Iterator[Stage]:
    """One run of a stage; `name` is DVC's (stage or stage@item).

    Raises InputError if its inputs changed meanwhile. If an InputError names a parameter, the file's name is put before it.
    """
    stage = Stage(name)
    with stage._locks:
        try:
            yield stage
        except InputError as error:
            if any(str(error).startswith(f"{section}.") for section in stage.params.content):
                raise InputError(f"{stage.params.path}: {error}") from None
            raise
        stage.check_unchanged()
        for folder in stage._finished:
            shutil.rmtree(folder)


def exit_cleanly(main: Callable[[], None]) -> None:
    """Runs a command's main function; bad input (InputError, OSError) ends with one line on stderr and exit code 2."""
    try:
        main()
    except (InputError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


def _code() -> list[Path]:
    """The repository's modules that this process has imported, except those next to this one, which change no result.

    Relative to the working folder; modules outside it are left out.
    """
    here, found = Path.cwd(), []
    for name, module in list(sys.modules.items()):
        if name.startswith(f"{__package__}."):
            continue
        if name.partition(".")[0] in ("ofa_core", "stages", "__main__") and getattr(module, "__file__", None):
            path = Path(str(module.__file__)).resolve()
            if path.is_relative_to(here) and ".venv" not in path.parts:
                found.append(path.relative_to(here))
    return sorted(set(found))


def _expand(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(p for p in path.rglob("*") if p.is_file())
    if not path.is_file():
        raise InputError(f"{path}: no such file; `dvc repro` makes what stages depend on")
    return [path]
