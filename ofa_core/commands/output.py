"""What a command prints."""

from typing import Any, NamedTuple


class Output(NamedTuple):
    """text: what is printed without --json. json: the object that --json prints. failed: a check failed, exit code 1."""

    text: str
    json: dict[str, Any]
    failed: bool = False
