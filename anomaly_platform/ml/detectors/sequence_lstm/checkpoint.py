"""Checkpoints of a training under way: tensors in safetensors, the rest in JSON.

Here belongs how a training's state is kept on disk and recognised again. The tensors' file is
written first and named by its digest; `checkpoint.json` names it and is replaced atomically, so
that a crash at any moment leaves the last complete checkpoint. No pickle: reading one cannot run
code.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from anomaly_platform.ml.arrays import Singles
from anomaly_platform.ml.bundles.private_files import write_private
from anomaly_platform.ml.detectors.sequence_lstm.architecture import Architecture
from anomaly_platform.ml.detectors.sequence_lstm.events import EventSequences

FILE = "checkpoint.json"


@dataclass(frozen=True)
class Checkpoint:
    """Everything that the next epoch depends on.

    `identity` names the training (data, architecture, parameters, seed); `arrays` holds the
    model's, the best epoch's and the optimiser's tensors; `loss_scale` the float16 scaler's state.
    """

    identity: str
    arrays: Mapping[str, Singles]
    next_epoch: int
    best_epoch: int
    best_loss: float
    loss_scale: Mapping[str, Any]
    history: tuple[Mapping[str, Any], ...]


def identity(
    architecture: Architecture,
    data: tuple[EventSequences, ...],
    parameters: Mapping[str, Any],
    seed: int,
) -> str:
    """Digest of all that decides a training's course."""
    digest = hashlib.sha256(architecture.to_json().encode())
    digest.update(json.dumps([parameters, seed], sort_keys=True).encode())
    for part in data:
        digest.update(np.ascontiguousarray(part.group_of_event()).data)
        for array in (part.codes, part.continuous, part.elapsed_hours, part.offsets, part.weights):
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Publish a checkpoint and remove the one before."""
    from safetensors.numpy import save

    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    data = save({name: np.ascontiguousarray(array) for name, array in checkpoint.arrays.items()})
    digest = hashlib.sha256(data).hexdigest()
    tensors = folder / f"checkpoint-{digest[:16]}.safetensors"
    write_private(tensors, data)
    facts = asdict(checkpoint)
    del facts["arrays"]
    facts |= {"tensors": tensors.name, "digest": digest}
    write_private(folder / FILE, json.dumps(facts).encode())
    for old in folder.glob("checkpoint-*.safetensors"):
        if old.name != tensors.name:
            old.unlink()


def read_checkpoint(folder: Path, expected_identity: str) -> Checkpoint | None:
    """Return the checkpoint in a folder, None when there is none.

    Raises
    ------
    ValueError
        When the checkpoint belongs to another training, or its file is damaged.
    """
    from safetensors.numpy import load

    if not (folder / FILE).exists():
        return None
    facts = json.loads((folder / FILE).read_text())
    tensors, digest = facts.pop("tensors"), facts.pop("digest")
    if facts["identity"] != expected_identity:
        raise ValueError(
            f"the checkpoint in {folder.name} belongs to another training (other data, "
            "parameters or seed); remove it, or choose another folder"
        )
    data = (folder / Path(tensors).name).read_bytes()
    if hashlib.sha256(data).hexdigest() != digest:
        raise ValueError(
            f"the checkpoint in {folder.name} is damaged: {tensors} has another digest"
        )
    return Checkpoint(arrays=load(data), **{**facts, "history": tuple(facts["history"])})
