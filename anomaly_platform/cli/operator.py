"""Who runs a command, for what is audited."""

import getpass


def operator() -> str:
    """Return the person's name; a container's user need not have one."""
    try:
        return f"{getpass.getuser()} (command line)"
    except (KeyError, OSError):
        return "command line"
