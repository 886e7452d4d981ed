"""What Dagster's instance needs before anything runs: its tables, its pools, and no dead runs.

Belongs here: that work as a process of its own. Dagster costs 70 MB, which `anomaly up` would keep
for as long as it watches others.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping


class InstanceError(RuntimeError):
    """Dagster's instance could not be got ready; what it printed says why."""


def get_ready(environment: Mapping[str, str]) -> None:
    """Get the instance of an environment ready, and wait for it.

    Raises
    ------
    InstanceError
        When that fails.
    """
    done = subprocess.run(  # noqa: S603 - our own module
        [sys.executable, "-m", __name__], env=dict(environment), check=False
    )
    if done.returncode:
        raise InstanceError("Dagster's tables could not be got ready")


def main() -> None:
    """Get the instance of this process's environment ready."""
    from anomaly_platform.resources.dagster_home import open_instance
    from anomaly_platform.resources.run_launcher import fail_dead_runs

    with open_instance({}) as instance:
        fail_dead_runs(instance)


if __name__ == "__main__":
    main()
