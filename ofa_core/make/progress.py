"""Runs `dvc repro` in a project and shows it as one line: which stage of how many, and how much of the planned time."""

import fcntl
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn, TextIO

from tqdm import tqdm

from ofa_core.make.project import LOG
from ofa_core.run.errors import InputError

RUNNING = re.compile(r"Running stage '([^']+)'")
SKIPPED = re.compile(r"Stage '([^']+)' (?:didn't change|is cached)")
PERCENT = re.compile(r"(?:^|\r)([^\r\n:]+): +(\d+)%\|")
"""A progress bar of tqdm: what it counts, and how far it is."""
BARS = {"train_supernet": "full", "collect_accuracies": "accuracies"}
"""The bar that takes most of a stage's time. Those of shrink and specialize are named like their item."""
WAIT = 90.0
"""Longest time in seconds to wait for a run that was killed to end."""
NOISE = ("To track the changes", "git add", "To enable auto staging", "Use `dvc push`", "failed to reproduce", "ERROR: failed")
"""Beginnings of lines that are not the reason of a failure."""


class Progress:
    """Understands the output of `dvc repro`. seconds: planned time by stage, in order. took: measured, of stages that ran."""

    def __init__(self, seconds: Mapping[str, float]) -> None:
        self.seconds = dict(seconds)
        self.done: set[str] = set()
        self.took: dict[str, float] = {}
        self.stage: str | None = None
        self._since, self._bar = time.monotonic(), 0.0

    def read(self, text: str) -> bool:
        """Takes a piece of output; returns whether a stage has started in it."""
        started = False
        for found in re.finditer(f"{RUNNING.pattern}|{SKIPPED.pattern}|{PERCENT.pattern}", text):
            running, skipped, bar, percent = found.groups()
            if running:
                self.finish()
                self.stage, self._since, self._bar = running, time.monotonic(), 0.0
                started = True
            elif skipped:
                self.done.add(skipped)
            elif self.stage and bar.strip() == self._bar_name():
                self._bar = int(percent) / 100
        return started

    def finish(self) -> None:
        """The current stage has ended."""
        if self.stage:
            self.done.add(self.stage)
            self.took[self.stage] = time.monotonic() - self._since
        self.stage = None

    def _bar_name(self) -> str:
        name, _, item = str(self.stage).partition("@")
        return BARS.get(name, item if name == "shrink" else str(self.stage))

    @property
    def share(self) -> float:
        """How much of the planned time is behind, 0..1. Within a stage: its own bar, or else the clock."""
        total = sum(self.seconds.values())
        behind = sum(seconds for stage, seconds in self.seconds.items() if stage in self.done)
        if self.stage in self.seconds and self.stage not in self.done:
            planned = self.seconds[self.stage]
            clock = 0.0 if self._bar else min(0.95, (time.monotonic() - self._since) / max(planned, 1e-9))
            behind += planned * max(self._bar, clock)
        return behind / total

    @property
    def place(self) -> str:
        """Such as `stage 3 of 14, shrink@all`."""
        number = min(len(self.done) + 1, len(self.seconds))
        return f"stage {number} of {len(self.seconds)}, {self.stage or 'checking'}"


@contextmanager
def locked(out: Path) -> Iterator[int]:
    """The right to change and run the project; yields the file that holds it, for a process that is to hold it longer.

    Waits for a run that was killed to end. Raises InputError if it does not.
    """
    (out / ".work").mkdir(parents=True, exist_ok=True)
    with (out / ".work/make.lock").open("w") as file:
        deadline, told = time.monotonic() + WAIT, False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise InputError(f"{out}: another `ofa make` works here; wait for it or stop it") from None
                if not told:
                    print(f"{out}: waiting for an earlier run to end", file=sys.stderr, flush=True)
                told = True
                time.sleep(0.2)
        yield file.fileno()


def repro(out: Path, progress: Progress, lock: int, stages: Sequence[str] = (), stream: TextIO | None = None) -> None:
    """Runs `dvc repro` for these stages, or all; what it prints goes to `LOG`. lock: from `locked`.

    On a terminal, stream (default: stderr) has one line that is updated; elsewhere one line for each stage.
    Raises InputError with the last error line and the log's path if it fails. On SIGTERM and Ctrl-C the run is ended, with a
    checkpoint, before SystemExit or KeyboardInterrupt is raised.
    """
    stream = stream or sys.stderr
    log, start = out / LOG, (out / LOG).stat().st_size if (out / LOG).exists() else 0
    command = [sys.executable, "-m", "ofa_core.make.guard", str(log), sys.executable, "-m", "dvc", "repro", *stages]
    process = subprocess.Popen(
        command, cwd=out, env=_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
        pass_fds=[lock],
    )  # fmt: skip
    with process, _terminable():
        try:
            _show(process, progress, stream)
        except BaseException as error:
            assert process.stdin is not None
            process.stdin.close()  # the guard ends everything
            process.wait()
            if isinstance(error, SystemExit | KeyboardInterrupt):
                print("stopped; the same command goes on from here", file=sys.stderr, flush=True)
            raise
    if process.returncode:
        raise InputError(f"{progress.stage or 'dvc repro'}: {_last_error(log, start)}; the whole output is in {log}")
    progress.finish()


def _show(process: "subprocess.Popen[bytes]", progress: Progress, stream: TextIO) -> None:
    assert process.stdout is not None
    rest = ""
    bar = tqdm(total=100, file=stream, disable=not stream.isatty(), bar_format="{percentage:3.0f}%|{bar}| {desc} [{elapsed}]")
    with bar:
        while True:
            ready, _, _ = select.select([process.stdout], [], [], 1.0)
            if ready:
                block = os.read(process.stdout.fileno(), 1 << 16)
                if not block:
                    return
                text = rest + block.decode("utf-8", "replace")
                # A line may be cut in two; the last piece is read again with the next block.
                cut = max(text.rfind("\n"), text.rfind("\r"))
                text, rest = text[:cut], text[cut:]
                if progress.read(text) and bar.disable:
                    print(f"{progress.share:4.0%}  {progress.place}", file=stream, flush=True)
            bar.n = round(100 * progress.share)
            bar.set_description_str(progress.place)


def _environment() -> dict[str, str]:
    """The stages' commands are `python -m ...`: this environment's python, and the project's code."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
    for name in ("PYTHONPATH", "PYTHONSAFEPATH"):
        environment.pop(name, None)
    return environment


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM raises SystemExit, so that it passes through what has to be ended first."""

    def stop(number: int, frame: object) -> NoReturn:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _last_error(log: Path, start: int) -> str:
    """The last line that says `error:`, or else the last line, of what was logged from byte `start` on."""
    with log.open("rb") as file:
        file.seek(start)
        lines = [line.strip() for line in re.split(r"[\r\n]+", file.read().decode("utf-8", "replace"))]
    lines = [line for line in lines if line and not line.startswith(NOISE)]
    errors = [line for line in lines if re.match(r"(error|ERROR|\w*Error)\b", line)]
    return (errors or lines or ["no output"])[-1].removeprefix("error: ").removeprefix("ERROR: ")
