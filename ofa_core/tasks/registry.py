"""The tasks by name."""

from ofa_core.run.errors import InputError
from ofa_core.tasks.classification import Classification
from ofa_core.tasks.task import Task

TASKS: dict[str, Task] = {task.name: task for task in (Classification(),)}
"""By the value of `task` in manifest entries."""


def get_task(name: str) -> Task:
    """The task of that name. Raises InputError, one line, that lists the known names."""
    if name not in TASKS:
        raise InputError(f"task: {name!r} is not one of {', '.join(TASKS)}")
    return TASKS[name]
