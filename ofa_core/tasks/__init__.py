from ofa_core.tasks.registry import get_task as get_task
from ofa_core.tasks.task import Task as Task
