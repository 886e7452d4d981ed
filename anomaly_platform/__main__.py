"""``python -m anomaly_platform``: the command ``anomaly``."""

from anomaly_platform.cli.main import main

if __name__ == "__main__":
    main()
