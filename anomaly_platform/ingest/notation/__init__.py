"""How people and programs write numbers, times and qualities, and what each notation means.

Which notation the columns of a file are in is settled in ``layout``.
"""
