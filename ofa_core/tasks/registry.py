"""The tasks by name."""

from importlib import import_module
from typing import Literal, overload

from ofa_core.run.errors import InputError
from ofa_core.tasks.classification import Classification
from ofa_core.tasks.task import Task

TASKS = {"classification": "Classification", "detection": "Detection"}
"""Classes, each in the module of its task's name, by the value of `task` in manifest entries."""


@overload
def get_task(name: Literal["classification"]) -> Classification: ...
@overload
def get_task(name: str) -> Task: ...
def get_task(name: str) -> Task:
    """The task of that name. Raises InputError, one line, that lists the known names.

    A module is imported when its task is asked for: no stage of classification depends on the code of detection.
    """
    if name not in TASKS:
        raise InputError(f"task: {name!r} is not one of {', '.join(TASKS)}")
    task: Task = getattr(import_module(f"{__package__}.{name}"), TASKS[name])()
    return task
