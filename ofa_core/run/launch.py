"""Starts a stage that trains with the launcher of the parameters: `python -m ofa_core.run.launch STAGE [OPTIONS]`.

The launcher is python, or torchrun with its options. It is read here and not written into the commands of dvc.yaml: DVC runs a
stage again when its command changes, and how a stage is started changes no result.
"""

import os
import sys

from ofa_core.run.machine import MachineParams
from ofa_core.run.params import ParamsFile
from ofa_core.run.stage import exit_cleanly


def main() -> None:
    """Replaces this process, so that signals reach the stage."""
    launcher = ParamsFile().peek("machine", MachineParams).launcher
    os.execvp("sh", ["sh", "-c", f'exec {launcher} -m "stages.$0" "$@"', *sys.argv[1:]])


if __name__ == "__main__":
    exit_cleanly(main)
