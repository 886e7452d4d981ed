"""The graph's assets: one module per stage, each a factory over streams.

What belongs here: what Dagster needs of a stage, and the steps that it takes whatever the kind of
stream. What differs between kinds is asked of ``platform.kind(stream)``. Importing this package
imports no stage, and no Dagster: the console takes the first look at a file from here.
"""
