"""The ``anomaly`` command."""

import sys

if sys.platform == "win32":
    raise SystemExit("anomaly_platform runs on Linux and macOS; on Windows use WSL or Docker.")
