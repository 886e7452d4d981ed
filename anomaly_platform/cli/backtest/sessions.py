"""``anomaly backtest sessions``: whole sequences of event ids, judged by the sequence model."""

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from anomaly_platform.cli.progress import bar


def backtest_sessions_file(
    train: Path, test: Path, out: Path, *, seed: int, console: Console
) -> None:
    """Train on normal sessions, score the others, write a row per test session.

    Parameters
    ----------
    train, test : Path
        A session per line, event ids separated by blanks; plain or gzipped.
    out : Path
        CSV with ``score`` in [0, 1), ``is_anomaly`` and why.
    seed : int
        Of every random choice.
    console : Console
        Shows progress and the summary.

    Raises
    ------
    UnreadableFile
        When a file cannot be read, or there are too few sessions to train on.
    """
    from anomaly_platform.ingest.files.sources import UnreadableFile
    from anomaly_platform.ml.backtest.sessions import backtest_sessions

    with bar(console) as progress:
        task = progress.add_task("training", total=None)

        def show(figures: Mapping[str, object]) -> None:
            fold, folds = int(str(figures["fold"])), int(str(figures["folds"]))
            epoch, epochs = int(str(figures["epoch"])), int(str(figures["max_epochs"]))
            progress.update(
                task,
                description=f"training, part {fold} of {folds}, epoch {epoch}",
                total=folds * epochs,
                completed=(fold - 1) * epochs + epoch,
            )

        try:
            figures = backtest_sessions(train, test, out, seed=seed, progress=show)
        except (ValueError, EOFError) as error:
            raise UnreadableFile(f"{train.name}, {test.name}: {error}") from None
        progress.update(task, description="scored", total=1, completed=1)
    judged, flagged = int(figures["test_sessions"]), int(figures["flagged"])
    share = f" ({flagged / judged:.1%})" if judged else ""
    console.print(
        f"Learned from {int(figures['train_sessions']):,} sessions "
        f"({int(figures['distinct_train_sessions']):,} different ones) in "
        f"{figures['training_seconds']:.1f} s; {judged:,} judged at "
        f"{figures['sessions_per_second']:,.0f} a second, {flagged:,}{share} flagged.",
        soft_wrap=True,
    )
    console.print(f"{out}", soft_wrap=True)
