"""How commands show that something goes on."""

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

_TEXT = TextColumn("{task.description}")


def spinner(console: Console) -> Progress:
    """Return the progress of work whose amount nobody knows."""
    return Progress(SpinnerColumn(), _TEXT, TimeElapsedColumn(), console=console)


def bar(console: Console) -> Progress:
    """Return the progress of work that can be counted."""
    return Progress(_TEXT, BarColumn(), TimeElapsedColumn(), console=console)
