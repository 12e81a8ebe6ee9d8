"""Search spaces as data: architectures, layers, what they lower to, and what they cost."""

from ofa_core.space.arch import Arch as Arch
from ofa_core.space.registry import get_space as get_space
