"""Learning all detectors of scans from one frame, for whoever has no platform to train them in."""

from collections.abc import Callable, Mapping
from typing import Final

import polars as pl

from anomaly_platform.ml.detectors.one_class_svm import SvmSearch
from anomaly_platform.ml.detectors.one_class_svm_scans import CalibratedSvm
from anomaly_platform.ml.detectors.rules.detector import RulesModel
from anomaly_platform.ml.detectors.sequence_lstm.calibrated import CalibratedSequence
from anomaly_platform.ml.detectors.sequence_lstm.parameters import TrainingParameters
from anomaly_platform.ml.features.scans.reference import ScanReference
from anomaly_platform.ml.scans.scoring import BarcodeModels, fit_fusion, ruled

#: Fewer scans than this teach nothing; the rules then speak alone.
LEAST_TO_LEARN: Final = 2_000
#: Scans that the sequence model is shown in all its epochs together, about a minute's worth.
_SHOWN: Final = 3_000_000
_MOST_EPOCHS, _LEAST_EPOCHS = 20, 4

#: The learned detectors.
_LEARNED: Final = ("lstm", "svm")

#: Called with each step's text; `renamed` when it says more of the step that is running.
Say = Callable[[str, bool], None]


def silent_detectors(
    models: BarcodeModels, *, scans: int = 0, least: int = LEAST_TO_LEARN
) -> dict[str, str]:
    """Say which learned detectors have too little data to speak, and how much is missing.

    Parameters
    ----------
    models
        What judges.
    scans, least
        Where nothing is learned: scans that there are, and that there have to be.

    Examples
    --------
    >>> silent_detectors(BarcodeModels.of_rules(ScanReference()), scans=8, least=1_000)["svm"]
    'nothing is learned yet: of 1,000 scans 8 are there, 992 are missing'
    """
    if models.fusion is None:
        missing = max(0, least - scans)
        said = f"nothing is learned yet: of {least:,} scans {scans:,} are there, "
        said += f"{missing:,} are missing" if missing else "the training is still to come"
        return dict.fromkeys(_LEARNED, said)
    lots, needed = models.fusion.lots, models.fusion.fewest_lots
    found = {
        name: "not among the models in service"
        for name in _LEARNED
        if getattr(models, name) is None
    }
    if lots is not None and models.fusion.has_few_lots:
        said = (
            f"calibrated on {lots:,} lots: below {needed:,} it calls what single codes do, and "
            f"hardly ever a whole lot; {needed - lots:,} are missing"
        )
        found = {**dict.fromkeys(_LEARNED, said), **found}
    return found


def learn_scans(
    features: pl.DataFrame,
    reference: ScanReference,
    *,
    seed: int,
    alpha: float = 0.01,
    most_epochs: int = _MOST_EPOCHS,
    search: SvmSearch | None = None,
    say: Say = lambda _text, _renamed: None,
) -> BarcodeModels:
    """Learn rules, one-class SVM, sequence model and their fusion. Labels are not read.

    Parameters
    ----------
    features
        Scan features (`ScanFeatureSet.compute`). Of fewer than `LEAST_TO_LEARN`, nothing is
        learned; of scans of one lot or instant, only the rules are.
    reference
        What is known beforehand.
    seed
        Of every random choice.
    alpha
        Share of normal scans that may reach the threshold.
    most_epochs
        Of the sequence model; of many scans there are fewer.
    search
        Of the SVM's parameters.
    say
        Told of the progress.
    """
    if features.height < LEAST_TO_LEARN:
        return BarcodeModels.of_rules(reference)
    rules = RulesModel.fit(features, reference)
    judged = ruled(rules, features.drop("label", "anomaly_kind", strict=False))
    epochs = min(most_epochs, max(_LEAST_EPOCHS, _SHOWN // features.height))

    def show(figures: Mapping[str, object]) -> None:
        say(f"learning: sequence model, epoch {figures['epoch']} of at most {epochs}", True)

    try:
        say(f"learning from {features.height:,} scans: one-class SVM", False)
        svm = CalibratedSvm.fit(judged, reference, seed=seed, search=search)
        say("learning: sequence model", False)
        lstm = CalibratedSequence.fit(
            judged, parameters=TrainingParameters(max_epochs=epochs), seed=seed, progress=show
        )
    except ValueError as error:
        # All of one lot, or of one instant: there is nothing that a model could be held against.
        say(f"only the rules are learned: {error}", False)
        return BarcodeModels(rules)
    return BarcodeModels(rules, lstm, svm, fit_fusion(judged, lstm, svm, alpha=alpha))
