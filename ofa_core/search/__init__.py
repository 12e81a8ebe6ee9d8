from ofa_core.search.engine import search as search
