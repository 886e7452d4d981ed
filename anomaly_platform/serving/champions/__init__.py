"""The champions in a worker's memory: loaded, verified, warmed up, swapped, within a budget.

Which version is champion is decided elsewhere (``registry``).
"""
