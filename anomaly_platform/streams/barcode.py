"""The stream ``barcode``: scans of goods moving through a supply network."""

from datetime import timedelta

from anomaly_platform.streams.base import RetrainingPolicy, ScanStream

BARCODE = ScanStream(
    name="barcode",
    title="Supply chain scans",
    description="Scans of coded goods: five rules, a sequence model and a one-class SVM, fused.",
    retraining=RetrainingPolicy(
        window=timedelta(days=90), max_age=timedelta(days=30), minimum_quality=0.75
    ),
)
