"""What the people who operate the platform ask: whether it works, and what is wrong where.

Windows end at a stream's newest reading, not at the present, so that imported history can be looked
at as well as live data.
"""
