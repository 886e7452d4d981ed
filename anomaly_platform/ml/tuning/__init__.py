"""Searches the settings of a metric stream's detector on injected and known anomalies.

What belongs here: which settings there are to try, what they are judged on, the search, and the
comparison of the best with those of today on rows that the search never saw. Frames in, figures
out: where rows come from and what becomes of a proposal is others' business.
"""
