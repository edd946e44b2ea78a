"""The evening's work in the middle: a pretrained model and a camera's pairs to a tuned model."""

import dataclasses
import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ledcli import __version__
from ledcli.errors import ModelError
from ledcli.training.data.pair_files import LoadedPairs
from ledcli.training.loop import Trainer
from ledcli.training.methods.base import Pretrained, TuningMethod
from ledcli.training.schedule import LogLine
from ledcli.zoo.folding import Proof
from ledcli.zoo.model_file import ModelSpec, file_sha256, load_model
from ledcli.zoo.selection import SENSORS
from ledcli.zoo.store import FoundModel

LOG_EVERY = 10
"""Iterations between two log lines."""
CHECKPOINT_EVERY = 30.0
"""Seconds between two checkpoints; the held crops are measured then too."""


@dataclass(frozen=True)
class Tuned:
    """What a tuning made.

    Attributes
    ----------
    spec, net
        The tuned model as it was trained; LED's has RepNR blocks with the target set and the OMNR
        branch.
    folded, plain
        What is installed: the same, as a plain network.
    proof : Proof or None
        That the two are one function, where there was something to fold.
    before, after : float
        PSNR of the held crops in dB: without the tuning (`TuningMethod.before`), and with it.
    """

    spec: ModelSpec
    net: nn.Module
    folded: ModelSpec
    plain: nn.Module
    proof: Proof | None
    before: float
    after: float


def pretrained_model(start: FoundModel, cfa: str = "bayer") -> Pretrained:
    """Load the model that a tuning to such a sensor starts from; raises ModelError."""
    spec, net = load_model(start.path)
    if spec.cfa != cfa:
        raise ModelError(
            f"{start.path}: is for {SENSORS[spec.cfa]} sensors and the pairs are {SENSORS[cfa]}: "
            "name another with --pretrained"
        )
    return Pretrained(spec, net, start.branch, file_sha256(start.path))


class Tuning:
    """A tuning: made, it has tried the model on the held crops, so that a failure comes at once.

    Parameters
    ----------
    pairs : LoadedPairs
    pretrained : Pretrained
        The model to start from.
    method : TuningMethod
        Of these pairs.
    bf16 : bool
        Whether in bfloat16.

    Raises
    ------
    ModelError
        The pretrained model cannot be tuned with these pairs.
    """

    def __init__(
        self, pairs: LoadedPairs, pretrained: Pretrained, method: TuningMethod, *, bf16: bool
    ) -> None:
        self.pairs, self.method = pairs, method
        self.origin = {
            "name": pretrained.spec.name,
            "set": pretrained.branch,
            "sha256": pretrained.sha256,
        }
        self.before = method.before(pretrained, bf16=bf16)
        start = method.begin(pretrained)
        self.spec, self.note = start.spec, start.note
        self.trainer = Trainer(
            start.net,
            method,
            method.schedule(),
            method.device,
            bf16=bf16,
            seed=method.recipe.seed,
            groups=start.groups,
            lanes=start.lanes,
            muon=start.muon,
        )

    def resume(self, checkpoint: Path) -> None:
        """Go on from a checkpoint; raises TrainingError when it is missing or of another tuning."""
        self.trainer.resume(checkpoint, self._identity())

    def run(
        self,
        checkpoint: Path,
        *,
        stop: Callable[[], bool] = lambda: False,
        show: Callable[[LogLine], None] = lambda _: None,
    ) -> Tuned | None:
        """Tune to the end, or until told to stop.

        Parameters
        ----------
        checkpoint : Path
            Where the state goes, at once and every so often.
        stop : callable
            Asked after every iteration.
        show : callable
            Told of every log line; ``validation["psnr"]`` is there now and then.

        Returns
        -------
        Tuned or None
            None when it was stopped.

        Raises
        ------
        TrainingError
            The loss is not a number.
        OutputError
            The checkpoint cannot be written.
        """
        identity = self._identity()
        if not self.trainer.step:
            # Whatever keeps it from being written is better known now.
            self.trainer.save(checkpoint, identity)
        steps = self.trainer.run(
            checkpoint, identity, log_every=LOG_EVERY, checkpoint_every=CHECKPOINT_EVERY, stop=stop
        )
        for line in steps:
            show(line)
        if self.trainer.step < self.method.recipe.iterations:
            return None
        return self._tuned()

    def _tuned(self) -> Tuned:
        trainer = self.trainer
        with trainer.averaged(), torch.inference_mode(), trainer.autocast():
            after = self.method.psnr(trainer.net)
        with trainer.averaged():
            spec = self._spec(after)
            folded, plain, proof = self.method.finish(spec, trainer.net)
            trained = {
                name: t.detach().cpu().clone() for name, t in trainer.net.state_dict().items()
            }
        trainer.net.load_state_dict(trained)
        return Tuned(spec, trainer.net, folded, plain, proof, self.before, after)

    def _spec(self, after: float) -> ModelSpec:
        ratios = self.pairs.shots.ratios
        training: dict[str, Any] = {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "method": self.method.name,
            **asdict(self.method.recipe),
            **self.method.record(),
            "seconds": round(self.trainer.seconds),
            "device": self.method.device.type,
            "precision": "bf16" if self.trainer.bf16 else "float32",
            "pretrained": self.origin,
            "pairs": self.pairs.records,
            "dark_frames": self.pairs.darks,
            "isos": list(self.pairs.shots.lines.isos),
            "ratios": ratios,
            "psnr_before": round(self.before, 3),
            "psnr_after": round(after, 3),
            "version": __version__,
        }
        return dataclasses.replace(
            self.spec,
            name=name_of(self.pairs.camera),
            ratio_range=(ratios[0], ratios[-1]),
            cameras=(self.pairs.camera,),
            method=self.method.name,
            source="led finetune",
            training=training,
            noise_lines=self.pairs.shots.lines,
        )

    def _identity(self) -> str:
        """Return what a checkpoint must be of to be gone on with."""
        lines, schedule = self.pairs.shots.lines.to_json(), self.trainer.schedule.as_json()
        parts = [
            self.method.name,
            asdict(self.method.recipe),
            schedule,
            self.trainer.bf16,
            self.origin,
            self.pairs.records,
            lines,
            __version__,
        ]
        return json.dumps(parts, sort_keys=True)


def name_of(camera: str) -> str:
    """Return the name that a camera's model gets: ``Sony ILCE-7SM2`` is ``sony-ilce-7sm2``."""
    return re.sub(r"[^a-z0-9]+", "-", camera.casefold()).strip("-")[:60] or "camera"
