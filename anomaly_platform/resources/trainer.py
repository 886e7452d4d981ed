"""Heavy training in a process of its own, by Dagster Pipes.

Belongs here: starting that process, hearing from it, and making sure that nothing of it is left
whatever happens. Does not belong here: what is trained (``ml.training``) and what becomes of the
result (the asset).
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dagster import AssetExecutionContext
    from dagster._core.pipes.context import PipesSession

_MODULE = "anomaly_platform.runtime.trainer_process"
_POLL_SECONDS = 0.2
_ERROR_LINES = 15

OnEpoch = Callable[[Mapping[str, Any]], None]


class TrainingFailedError(RuntimeError):
    """The trainer ended without a result; the message says why."""


class TrainerKilledError(TrainingFailedError):
    """Somebody, or the machine for want of memory, killed the trainer: it may be started again."""


@dataclass(frozen=True, slots=True)
class Trainer:
    """Runs trainings, each in a process group of its own.

    Parameters
    ----------
    stuck_after : float
        Seconds without any news (an epoch is news) after which a trainer counts as stuck and is
        killed.
    grace : float
        Seconds that a trainer has to end by itself after it was asked to.
    """

    stuck_after: float = 3600.0
    grace: float = 5.0

    def run(
        self, context: AssetExecutionContext, config: Path, on_epoch: OnEpoch
    ) -> list[Mapping[str, Any]]:
        """Train as a configuration file says, and wait for the end.

        Parameters
        ----------
        context : AssetExecutionContext
            Of the asset that trains.
        config : Path
            See ``ml.training.sequence_trainer.TrainerConfig``; its folder receives the trainer's
            standard error.
        on_epoch : callable
            Takes the figures of an epoch as soon as it is over.

        Returns
        -------
        list of mapping
            Everything that the trainer reported.

        Raises
        ------
        TrainerKilledError
            When somebody else killed it.
        TrainingFailedError
            When it fails, or says nothing for too long. The process and all that it started are
            gone by then, and so they are when this call is interrupted.
        """
        from dagster import PipesTempFileContextInjector, PipesTempFileMessageReader
        from dagster._core.pipes.utils import open_pipes_session

        errors = config.parent / "stderr.log"
        heard: list[Mapping[str, Any]] = []
        with (
            open_pipes_session(
                context=context,
                context_injector=PipesTempFileContextInjector(),
                message_reader=PipesTempFileMessageReader(),
            ) as session,
            errors.open("wb") as log,
        ):
            process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", _MODULE, str(config)],
                env={
                    **os.environ,
                    **session.get_bootstrap_env_vars(),
                    "ANOMALY_TRAINER_PARENT": str(os.getpid()),
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            context.log.info("training in process %d", process.pid)
            try:
                self._follow(process, session, heard, on_epoch)
            finally:
                # Also when a person cancels the run: the interruption is raised in `_follow`.
                self._end(process)
        # The reader has read everything by now.
        _hear(session, heard, on_epoch)
        if process.returncode < 0:
            raise TrainerKilledError(_reason(process.returncode, heard, errors))
        if process.returncode > 0:
            raise TrainingFailedError(_reason(process.returncode, heard, errors))
        return heard

    def _follow(
        self,
        process: subprocess.Popen[bytes],
        session: PipesSession,
        heard: list[Mapping[str, Any]],
        on_epoch: OnEpoch,
    ) -> None:
        news = time.monotonic()
        while process.poll() is None:
            if _hear(session, heard, on_epoch):
                news = time.monotonic()
            elif time.monotonic() - news > self.stuck_after:
                raise TrainingFailedError(
                    f"the trainer said nothing for {self.stuck_after:g} s and was killed"
                )
            time.sleep(_POLL_SECONDS)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """Leave nothing of the process group behind."""
        if process.poll() is None:
            _signal_group(process.pid, signal.SIGTERM)
            # What does not listen is killed below.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(self.grace)
        _signal_group(process.pid, signal.SIGKILL)
        process.wait()


def _hear(session: PipesSession, heard: list[Mapping[str, Any]], on_epoch: OnEpoch) -> bool:
    messages = session.get_custom_messages()
    fresh = messages[len(heard) :]
    for message in fresh:
        heard.append(message)
        if message.get("event") == "epoch":
            on_epoch(message)
    return bool(fresh)


def _reason(code: int, heard: list[Mapping[str, Any]], errors: Path) -> str:
    for message in reversed(heard):
        if message.get("event") == "failed":
            return f"the trainer failed: {message.get('reason')}"
    epochs = sum(message.get("event") == "epoch" for message in heard)
    after = f"after {epochs} epochs" if epochs else "before its first epoch was over"
    if code < 0:
        return f"the trainer was killed by {signal.Signals(-code).name} {after}"
    tail = errors.read_text(encoding="utf-8", errors="replace").splitlines()[-_ERROR_LINES:]
    return f"the trainer ended with {code} {after}: " + "\n".join(tail)


def _signal_group(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return
