"""Versions of models: bundles, promotion, champions, training requests.

Training itself does not belong here (``assets``, ``ml.training``).
"""
