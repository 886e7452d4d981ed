"""The five rules about scans.

`codes` and `kernel` find, `reasons` says why, `parameters` has the limits and the kinds. The
columns of the answer are in ``kinds.scan.scoring`` and ``ml.scans.response``.
"""
