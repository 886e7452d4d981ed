"""The platform's detectors with scikit-learn's contract, for notebooks and scripts.

An estimator belongs here as far as it turns frames or arrays into what `backtest`, `detectors` and
`scans` take, and their answers back. How anything is learned or scored does not.
"""
