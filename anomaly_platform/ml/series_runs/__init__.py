"""How long a series has been in its present state: a fold over its readings, and its evidence.

What belongs here: the fold itself, which is older than any window and bounded in size, what a model
knows of ordinary runs, and the reasons in words.
"""
