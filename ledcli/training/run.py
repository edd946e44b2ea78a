"""One run of a fine-tuning: measure, train, measure again, fold, and describe the model."""

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
from ledcli.sensor.layout import LAYOUTS
from ledcli.training.data.pair_files import LoadedPairs
from ledcli.training.data.sampler import PretrainRecipe
from ledcli.training.loop import LogLine, Trainer
from ledcli.training.methods.base import FinetuneMethod, Pretrained
from ledcli.zoo.folding import Proof
from ledcli.zoo.model_file import file_sha256, load_model
from ledcli.zoo.spec import ModelSpec
from ledcli.zoo.store import ChosenModel

LOG_EVERY = 10
"""Iterations between two log lines."""
CHECKPOINT_EVERY = 30.0
"""Seconds between two checkpoints; the validation crops are measured then too."""
NO_MODEL = "none"
"""``--pretrained none``: every weight is initialised."""


@dataclass(frozen=True)
class FinetunedModel:
    """What a training made.

    ``spec`` and ``net`` are the model as it was trained: LED's has RepNR blocks with the target set
    and OMNR branch. ``folded`` and ``plain`` are the same as a plain network, which is installed;
    ``proof`` is that folding changed nothing, if there was something to fold. ``before`` and
    ``after`` are the PSNR of the validation crops in dB without and with the tuning.
    """

    spec: ModelSpec
    net: nn.Module
    folded: ModelSpec
    plain: nn.Module
    proof: Proof | None
    before: float
    after: float

    @property
    def improvement(self) -> float:
        """PSNR after tuning less that before, in dB."""
        return self.after - self.before


def pretrained_model(start: ChosenModel, cfa: str = "bayer") -> Pretrained:
    """Load the model to start from for a kind of sensor; raises ModelError."""
    spec, net = load_model(start.path)
    if spec.cfa != cfa:
        raise ModelError(
            f"{start.path}: is for {LAYOUTS[spec.cfa].title} sensors and the pairs are "
            f"{LAYOUTS[cfa].title}: name another with --pretrained"
        )
    return Pretrained(spec, net, start.csa_set, file_sha256(start.path))


def no_model() -> Pretrained:
    """Return what stands for ``--pretrained none``: led's own architecture without weights."""
    recipe = PretrainRecipe()
    spec = ModelSpec(
        name=NO_MODEL,
        architecture=recipe.architecture,
        arguments=dict(recipe.arguments),
        input_form="gain",
        csa_sets=(),
        ratio_range=(1.0, 1.0),
        method=NO_MODEL,
        licence="its owner's",
        source="led finetune",
    )
    return Pretrained(spec, None)


class Finetuning:
    """A fine-tuning of a pretrained model by a method.

    Making it measures the pretrained model, so that a failure comes at once; raises ModelError when
    the model cannot be tuned with these pairs.
    """

    def __init__(
        self, pairs: LoadedPairs, pretrained: Pretrained, method: FinetuneMethod, *, bf16: bool
    ) -> None:
        self.pairs, self.method = pairs, method
        self.origin = {
            "name": pretrained.spec.name,
            "csa_set": pretrained.csa_set,
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
            workers=method.workers,
            muon=method.muon,
        )

    def resume(self, checkpoint: Path) -> None:
        """Go on from a checkpoint; raises TrainingError when it is missing or of another run."""
        self.trainer.resume(checkpoint, self._identity())

    def run(
        self,
        checkpoint: Path,
        *,
        stop: Callable[[], bool] = lambda: False,
        show: Callable[[LogLine], None] = lambda _: None,
    ) -> FinetunedModel | None:
        """Train to the end, or until ``stop`` returns True; then return None.

        The checkpoint is written at once and every `CHECKPOINT_EVERY` seconds. ``show`` receives
        every log line; ``validation["psnr"]`` is there now and then. Raises TrainingError if the
        loss is not a number, OutputError if the checkpoint cannot be written.
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
        return self._finished()

    def _finished(self) -> FinetunedModel:
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
        return FinetunedModel(spec, trainer.net, folded, plain, proof, self.before, after)

    def _spec(self, after: float) -> ModelSpec:
        pairs = self.pairs.camera_pairs
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
            "isos": list(pairs.noise_profile.isos),
            "ratios": pairs.ratios,
            "psnr_before": round(self.before, 3),
            "psnr_after": round(after, 3),
            "version": __version__,
        }
        return dataclasses.replace(
            self.spec,
            name=name_of(self.pairs.camera),
            ratio_range=(pairs.ratios[0], pairs.ratios[-1]),
            cameras=(self.pairs.camera,),
            method=self.method.name,
            source="led finetune",
            training=training,
            noise_profile=pairs.noise_profile,
        )

    def _identity(self) -> str:
        """Return the text that a checkpoint of the same fine-tuning has."""
        parts = [
            self.method.name,
            asdict(self.method.recipe),
            self.trainer.schedule.as_json(),
            self.trainer.bf16,
            self.origin,
            self.pairs.records,
            self.pairs.camera_pairs.noise_profile.to_json(),
            __version__,
        ]
        return json.dumps(parts, sort_keys=True)


def name_of(camera: str) -> str:
    """Return the name that a camera's model gets: ``Sony ILCE-7SM2`` is ``sony-ilce-7sm2``."""
    return re.sub(r"[^a-z0-9]+", "-", camera.casefold()).strip("-")[:60] or "camera"
