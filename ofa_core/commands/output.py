"""What a command prints."""

from typing import Any, NamedTuple


class Output(NamedTuple):
    """text: for people. json: the object that --json prints. failed: whether a check failed, which is exit code 1."""

    text: str
    json: dict[str, Any]
    failed: bool = False
