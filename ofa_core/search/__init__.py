"""Search for the best sub-network within a budget."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ofa_core.search.engine import search as search


def __getattr__(name: str) -> Any:
    """`search`, imported on first use: the choices of this folder are read where scipy is not installed."""
    if name != "search":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ofa_core.search.engine import search

    return search
