"""Puts the benchmarks where their tests import them from, as running one of them does."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[3] / "benchmarks"))
