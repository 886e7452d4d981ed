"""What several tests build their world from: readings, scans, models, platforms, commands.

Belongs here: plain functions that more than one test file uses. Fixtures stay in the
``conftest.py`` of their folder, and what one file alone needs stays in that file.
"""
