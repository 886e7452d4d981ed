"""Back-up of a home and its way back.

Belongs here: what a home consists of, taking all of it at one instant, and putting it somewhere
else. Neither leaves anything that looks whole and is not: a back-up gets its name, and a home loses
its mark, as the last step.
"""
