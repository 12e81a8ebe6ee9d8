"""TensorFlow without its chatter: its log lines go to file descriptor 2 from C++, where Python cannot filter them."""

import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any


@contextmanager
def quiet() -> Iterator[None]:
    """Holds back what anything in the process writes to file descriptor 2, and shows it only when the block fails.

    Not for blocks in which other threads write to stderr: their lines are held back too.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        except BaseException:
            sys.stderr.flush()
            held.seek(0)
            os.write(kept, held.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)


def import_tensorflow() -> Any:
    """The tensorflow module, imported with logging off. oneDNN is off too: its sums depend on the machine."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    with quiet():
        tf = import_module("tensorflow")  # not an import statement: it has no type information
    tf.get_logger().setLevel("ERROR")
    return tf
