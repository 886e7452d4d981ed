"""Versions of models: bundles, promotion, champions, training requests.

Training itself does not belong here (``kinds``, ``ml.training``), nor does the decision whether a
challenger is good enough (``ml.training.gates``).
"""
