"""Choices that commands name."""

from typing import Literal

Contract = Literal["classification", "detection"]
"""Of the challenges OVIC and LPCVC; `ofa_core.runtime.contract` says what each asks for."""
