"""What Dagster runs on: its home, the launcher of runs, the trainer's process.

Data and models do not belong here (``storage``, ``registry``).
"""
