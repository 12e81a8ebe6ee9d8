"""Networks in torch: elastic super-networks and the stand-alone networks they hold."""

from ofa_core.nn.foreign import load_foreign as load_foreign
from ofa_core.nn.network import build_supernet as build_supernet
from ofa_core.nn.official import load_official as load_official
