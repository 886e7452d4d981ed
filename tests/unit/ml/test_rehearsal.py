"""What is compiled at its first call is compiled before somebody waits for it."""

import subprocess
import sys

REHEARSED = """
from anomaly_platform.ml.rehearsal import rehearse
rehearse()
from anomaly_platform.ml.scoring import one_row
from anomaly_platform.ml.scoring.explaining import search_kernels as search
lazy = one_row.measure_row, one_row.conclude_row
for one in (*lazy, search.put_values, search.look_further, search.in_season):
    print(len(one.signatures) > 0)
"""


def test_a_rehearsal_calls_what_judges_and_explains_one_reading() -> None:
    said = subprocess.check_output([sys.executable, "-c", REHEARSED], text=True)
    assert said.split() == ["True"] * 5
