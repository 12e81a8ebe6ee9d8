"""One sub-network of a once-for-all space, as plain data.

`Arch` only holds the choices of a sub-network. The spaces in `mobile.py` and `resnet.py` give them meaning.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from ofa_core.run.errors import InputError

Number = int | float


@dataclass(frozen=True)
class Arch:
    """The choices that define one sub-network.

    ks: kernel size of every block. None if the space has no elastic kernel (ofa_resnet50).
    e:  expand ratio of every block.
    d:  depth of every stage. In ofa_resnet50 the first entry is that of the stem (0 or 2).
    r:  input resolution in pixels.
    w:  width of every row of a mobile table that has several widths in any row: stem, first block, each stage, the layers of
        the head, at multiplier 1 (a row with one width has an entry too). None if all its rows have one width.
        In ofa_resnet50: the index of the width of each part.

    Lists and numpy numbers are accepted and stored as tuples of int and float. Entries of blocks that the depth skips are kept
    as given: they are part of the encoding, but not of the network.

    Raises InputError, naming the field, if an entry is not a number.
    """

    ks: tuple[int, ...] | None
    e: tuple[Number, ...]
    d: tuple[int, ...]
    r: int
    w: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "ks", None if self.ks is None else _integers("ks", self.ks))
        object.__setattr__(self, "e", _numbers("e", self.e))
        object.__setattr__(self, "d", _integers("d", self.d))
        object.__setattr__(self, "r", _integers("r", (self.r,))[0])
        object.__setattr__(self, "w", None if self.w is None else _integers("w", self.w))
        if self.ks is not None and len(self.ks) == 21 and len(self.d) == 6:
            # ofa_proxyless has five stages of four blocks and one single block. The official sampler draws a depth for the
            # single block too, without effect. Here one network has one encoding.
            object.__setattr__(self, "d", (*self.d[:5], 1))

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Arch":
        """Reads the output of `to_dict`: keys e, d, r, and ks or w if the space has them.

        Raises InputError for a missing or unknown key, or for an entry that is not a number.
        """
        missing = {"e", "d", "r"} - set(fields)
        if missing:
            raise InputError(f"architecture: missing {', '.join(sorted(missing))}")
        unknown = set(fields) - {"ks", "e", "d", "r", "w"}
        if unknown:
            raise InputError(f"architecture: unknown {', '.join(sorted(unknown))}; allowed are ks, e, d, r, w")
        return cls(fields.get("ks"), fields["e"], fields["d"], fields["r"], fields.get("w"))

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON-ready lists and numbers. w only if the space has it."""
        fields: dict[str, Any] = {"ks": None if self.ks is None else list(self.ks), "e": list(self.e), "d": list(self.d)}
        return fields | {"r": self.r} | ({} if self.w is None else {"w": list(self.w)})


def _numbers(field: str, values: Sequence[Any]) -> tuple[Number, ...]:
    try:
        items = list(values)
    except TypeError:
        raise InputError(f"{field}: {values!r} is not a list of numbers") from None
    for i, value in enumerate(items):
        if isinstance(value, bool) or not isinstance(value, Real):
            raise InputError(f"{field}[{i}]: {value!r} is not a number")
    return tuple(int(v) if float(v).is_integer() else float(v) for v in items)


def _integers(field: str, values: Sequence[Any]) -> tuple[int, ...]:
    numbers = _numbers(field, values)
    for i, number in enumerate(numbers):
        if not isinstance(number, Integral):
            raise InputError(f"{field}[{i}]: {number!r} is not a whole number")
    return tuple(int(n) for n in numbers)
