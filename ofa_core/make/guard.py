"""Runs a command that must not outlive the process that asked for it: `python -m ofa_core.make.guard LOG COMMAND...`.

`ofa make` may be killed in a way that it cannot notice. The pipeline would go on without it, and the next call would meet a
running one. So this process stands between them, in a session of its own. When its standard input ends, because the other side
closed it or is gone, everything it started gets SIGTERM: a training phase then writes a checkpoint.

Output goes to LOG, at its end, and to standard output. The exit code is the command's.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO

PATIENCE = 30.0
"""Seconds from SIGTERM to SIGKILL."""


def main(log: str, *command: str) -> int:
    """Returns the command's exit code once all its processes have ended."""
    with Path(log).open("ab") as file:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        # A handler, not SIG_IGN: what the command starts would inherit that.
        signal.signal(signal.SIGTERM, lambda number, frame: None)
        threading.Thread(target=_end_with_input, daemon=True).start()
        assert process.stdout is not None
        _relay(process.stdout, file)
    return process.wait()


def _end_with_input() -> None:
    while os.read(sys.stdin.fileno(), 1):  # not the buffered stream: a thread that waits in it disturbs the end of Python
        pass
    os.killpg(0, signal.SIGTERM)
    time.sleep(PATIENCE)
    os.killpg(0, signal.SIGKILL)


def _relay(source: IO[bytes], log: IO[bytes]) -> None:
    """Until the last process that can write has ended, not just the first."""
    while block := os.read(source.fileno(), 1 << 16):
        log.write(block)
        log.flush()
        with contextlib.suppress(OSError):  # nobody listens any more
            os.write(sys.stdout.fileno(), block)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
