"""Ends a process with the one that has started it, however that one ends."""

import ctypes
import sys
from signal import Signals
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def end_with_parent(signal: Signals) -> None:
    """Let this process get a signal when its parent has ended; on Linux alone.

    The parent is the thread that has started this process.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal)
