"""Starts a training stage with the launcher in the parameters: `python -m ofa_core.run.launch STAGE [OPTIONS]`.

The launcher is python, or torchrun with its options. It is not part of the commands in dvc.yaml, because DVC runs a stage
again if its command changes. How a stage is started changes no result.
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
