from ofa_core.nn.network import build_supernet as build_supernet
