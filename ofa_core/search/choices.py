"""Choices of the search that parameters and `ofa search` name; `SearchParams` says what they mean."""

from typing import Literal

Effort = Literal["normal", "high"]
Objective = Literal["top1", "int8_top1", "lower_bound"]
