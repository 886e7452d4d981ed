"""Kinds of streams: all that differs between readings and scans, behind one protocol.

What belongs here: ``base``, the protocol that the stages ask, ``metric`` and ``scan``, its two
implementations, and what they share. What does not: stages, checks and sensors, which know no kind,
and Dagster.
"""
