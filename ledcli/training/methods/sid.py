"""SID (Chen et al., Learning to See in the Dark, 2018): from the short raw to the long's picture.

The network does all that a raw developer does, and is trained end to end by the L1 between its
picture and the long frame as LibRaw develops it (section 4.2). How bright it shall be is told by
the ratio, the gain of its input. Every weight is trained, by one camera's pairs.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ledcli.errors import PairError
from ledcli.nets.forms import SrgbForm, subpixel
from ledcli.nets.network import Network
from ledcli.raw.libraw import LIBRAW_VERSION
from ledcli.training.data.pairs import MULTIPLE, CameraPairs
from ledcli.training.data.srgb_pairs import SrgbBatch, SrgbPairs
from ledcli.training.methods.base import Finished, Pretrained, Start, psnr_of, transfer_weights
from ledcli.training.schedule import Schedule
from ledcli.zoo.model_file import ModelSpec


@dataclass(frozen=True)
class SidRecipe:
    """All that decides a training by SID but the pairs and the start.

    Attributes
    ----------
    iterations : int
    batch, side : int
        Crops of an iteration and their side in plane pixels.
    learning_rate : float
        Peak, of Muon for the kernels; Adam's for the rest follows.
    seed : int
    """

    iterations: int = 2000
    batch: int = 8
    side: int = 128
    learning_rate: float = 1e-3
    seed: int = 0


class SidMethod:
    """The method that the loop trains.

    Parameters
    ----------
    recipe : SidRecipe
    shots : CameraPairs
        Says what the camera's black is off by.
    pictures : SrgbPairs
        The same pairs, the long frames developed.
    device : torch.device
    workers : int
        Parts of a batch that are computed side by side.

    Raises
    ------
    PairError
        The frames are too small.
    """

    name = "sid"

    def __init__(
        self,
        recipe: SidRecipe,
        shots: CameraPairs,
        pictures: SrgbPairs,
        device: torch.device,
        workers: int = 1,
    ) -> None:
        self.recipe, self.shots, self.pictures, self.device = recipe, shots, pictures, device
        self.workers = min(workers, recipe.batch)
        self.side = min(recipe.side, pictures.side) // MULTIPLE * MULTIPLE
        if not self.side:
            raise PairError("the frames are too small to tune: shoot them at full size")
        self.form = SrgbForm(pictures.planes)

    def before(self, pretrained: Pretrained, *, bf16: bool) -> float:
        """Return the PSNR in dB of the noisy frames that LibRaw develops, on the held crops."""
        batches = self.pictures.validation_batches()
        return _mean([psnr_of(noisy, batch.picture) for batch, noisy in batches])

    def begin(self, pretrained: Pretrained) -> Start:
        """Take the pretrained weights over where they fit; the first and the last start anew."""
        spec, net, csa_set, _ = pretrained
        planes = {"in_planes": self.form.in_planes, "out_planes": self.form.out_planes}
        adopted = transfer_weights(spec, net, csa_set, seed=self.recipe.seed, **planes)
        if any(name.startswith(f"{adopted.net.architecture.last_layer}.") for name in adopted.anew):
            start_at(adopted.net, self.pictures.mean())
        described = replace(
            adopted.spec,
            input_form="gain",
            output="srgb",
            cfa=self.pictures.cfa,
            planes=self.pictures.planes,
        )
        return Start(described, adopted.net, note=str(adopted), muon=True, workers=self.workers)

    def schedule(self) -> Schedule:
        """Return how long and how fast."""
        recipe = self.recipe
        return Schedule(recipe.iterations, learning_rate=recipe.learning_rate, warm_up=50, ema=0.99)

    def loss(self, net: nn.Module, progress: float, generator: torch.Generator) -> Tensor:
        """Draw crops; return the L1 between the network's pictures and LibRaw's."""
        seed = int(torch.randint(2**31, (), generator=generator, device=self.device))
        count = max(1, self.recipe.batch // self.workers)
        drawn = self.pictures.batch(np.random.default_rng(seed), count, self.side)
        batch = self._here(drawn)
        return (self._picture(net, batch) - batch.picture).abs().mean()

    def validate(self, net: nn.Module) -> dict[str, float]:
        """Return the PSNR of the held crops."""
        return {"psnr": self.psnr(net)}

    def psnr(self, net: nn.Module) -> float:
        """Return the PSNR of the held crops in dB, in sRGB."""
        batches = [self._here(batch) for batch, _ in self.pictures.validation_batches()]
        return _mean([psnr_of(self._picture(net, batch), batch.picture) for batch in batches])

    def record(self) -> dict[str, Any]:
        """Return what the pictures are."""
        return {"pictures": f"LibRaw {LIBRAW_VERSION}, camera white balance, sRGB"}

    def finish(self, spec: ModelSpec, net: nn.Module) -> Finished:
        """Install the network as it is: there is nothing to fold."""
        return Finished(spec, net)

    def _picture(self, net: nn.Module, batch: SrgbBatch) -> Tensor:
        nothing = torch.zeros_like(batch.ratio)
        return subpixel(self.form(net, batch.x, batch.ratio, nothing, nothing))

    def _here(self, batch: SrgbBatch) -> SrgbBatch:
        return SrgbBatch(*(part.to(self.device) for part in batch))


def start_at(net: Network, colour: Tensor) -> None:
    """Let a new last layer begin with a colour ``(3,)`` everywhere, from which all others are near.

    The colours of a picture are far from zero, and a bias moves slowly; what the layers before made
    in another network is of another size.
    """
    last = net.get_submodule(net.architecture.last_layer)
    assert isinstance(last, nn.Conv2d)
    if last.bias is None:
        return
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(colour.repeat_interleave(len(last.bias) // len(colour)))


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
