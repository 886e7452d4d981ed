"""One module per table, and a room for scored rows: statements, and the types of rows.

A transaction that spans several tables takes the cursor of its caller. Policies do not belong
here.
"""
