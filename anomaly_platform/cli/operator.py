"""Who runs a command, for what is audited."""

import getpass
import os


def operator() -> str:
    """Return the person's name, and that they used the command line."""
    return f"{person()} (command line)"


def person() -> str:
    """Return the person's name; that of the user's number in a container without names."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"
