"""What the docs are made of that a program knows better: reference pages and pictures.

Belongs here: whatever turns the code (commands, settings, tables) or a running platform (pictures)
into files of ``docs/``. A text that a person writes belongs into ``docs/`` itself.
"""
