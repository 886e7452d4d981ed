"""Readings taken one by one: each is stored, scored and told in one transaction, late ones too.

HTTP does not belong here (``serving``), nor do the arithmetic of features and scores (``ml``).
"""
