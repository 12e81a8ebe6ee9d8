from ofa_core.search.evolution import search as search
