"""The platform's PostgreSQL as one object: a part per subject, one pool for all.

Belongs here: what puts the tables' modules together. Like ``platform`` it is part of the
composition root: nothing below imports it.
"""

from anomaly_platform.labelling.labels import Labels
from anomaly_platform.registry.bundles import Bundles
from anomaly_platform.registry.pending_updates import PendingUpdates
from anomaly_platform.registry.training_evidence import TrainingEvidence
from anomaly_platform.registry.training_requests import TrainingRequests
from anomaly_platform.registry.tunings import Tunings
from anomaly_platform.storage.postgres.transactions import Transactions
from anomaly_platform.storage.tables.api_keys import ApiKeys
from anomaly_platform.storage.tables.drift import DriftStats
from anomaly_platform.storage.tables.ledger import Ledger
from anomaly_platform.storage.tables.monitoring import MonitoringStats
from anomaly_platform.storage.tables.online import OnlineReadings
from anomaly_platform.storage.tables.partitions import Partitions
from anomaly_platform.storage.tables.prediction_latency import PredictionLatency
from anomaly_platform.storage.tables.progress import Progress
from anomaly_platform.storage.tables.quarantine import Quarantine
from anomaly_platform.storage.tables.scored.metrics import SCORED_METRICS
from anomaly_platform.storage.tables.scored.rows import ScoredRows
from anomaly_platform.storage.tables.scored.scans import SCORED_SCANS
from anomaly_platform.storage.tables.series import SeriesIndex


class Warehouse:
    """Everything that the platform keeps in PostgreSQL.

    Parameters
    ----------
    url : str
        Of a database whose schema is current; see ``database.prepare_databases``.

    Attributes
    ----------
    transactions : Transactions
        For statements that none of the parts has.
    ledger, quarantine, partitions, series, bundles, scores, scan_scores, monitoring, progress,
    training_requests, training_evidence, labels, drift, prediction_latency,
    mlflow_updates, tunings
        The parts.
    """

    def __init__(self, url: str) -> None:
        self.transactions = Transactions(url)
        self.ledger = Ledger(self.transactions)
        self.quarantine = Quarantine(self.transactions)
        self.partitions = Partitions(self.transactions)
        self.series = SeriesIndex(self.transactions)
        self.api_keys = ApiKeys(self.transactions)
        self.bundles = Bundles(self.transactions)
        self.mlflow_updates = PendingUpdates(self.transactions)
        self.scores = ScoredRows(self.transactions, SCORED_METRICS)
        self.scan_scores = ScoredRows(self.transactions, SCORED_SCANS)
        self.monitoring = MonitoringStats(self.transactions)
        self.progress = Progress(self.transactions)
        self.online = OnlineReadings(self.transactions)
        self.training_requests = TrainingRequests(self.transactions)
        self.labels = Labels(self.transactions)
        self.drift = DriftStats(self.transactions)
        self.training_evidence = TrainingEvidence(self.transactions)
        self.tunings = Tunings(self.transactions)
        self.prediction_latency = PredictionLatency(self.transactions)

    def server_version(self) -> str:
        """Return the server's version, such as ``18.4``."""
        return str(self.transactions.value("SHOW server_version")).partition(" ")[0]

    def close(self) -> None:
        """Close every connection."""
        self.transactions.close()
