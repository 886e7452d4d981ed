"""One module per table: its statements and the types of its rows.

A transaction that spans several tables takes the cursor of its caller. Policies do not belong
here.
"""
