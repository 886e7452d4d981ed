"""What judges scans is compiled before somebody waits for it."""

import subprocess
import sys

REHEARSED = """
from anomaly_platform.ml.scans.rehearsal import rehearse_scans
rehearse_scans()
from anomaly_platform.ml.detectors.one_class_svm_kernels import decision
from anomaly_platform.ml.detectors.rules.kernel import walk
from anomaly_platform.ml.detectors.scan_habits.imitation import gathered
from anomaly_platform.ml.detectors.scan_habits.stay_kernels import expected, log_densities
from anomaly_platform.ml.features.scans.kernels import history_starts, sequence_rows
for one in (decision, walk, gathered, expected, log_densities, history_starts, sequence_rows):
    print(len(one.signatures) > 0)
"""


def test_a_rehearsal_calls_what_judges_scans() -> None:
    said = subprocess.check_output([sys.executable, "-c", REHEARSED], text=True)
    assert said.split() == ["True"] * 7
