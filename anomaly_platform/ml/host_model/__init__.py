"""How the metrics of a host move together, and how far each one moves apart from the others.

What belongs here: the rows of a host on one clock, the regression of each metric on all of them,
and what its errors are evidence of. What does not: how the host's score is put together
(`ml.scoring`).
"""
