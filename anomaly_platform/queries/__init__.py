"""What the API and the console ask the tables: one function per question.

HTTP does not belong here.
"""
