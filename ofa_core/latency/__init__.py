from ofa_core.latency.table import LatencyTable as LatencyTable
