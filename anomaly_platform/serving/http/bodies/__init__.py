"""Bodies of requests before a route sees them: who may send one, how large, and of what form.

What a body says does not belong here (``serving.schemas``).
"""
