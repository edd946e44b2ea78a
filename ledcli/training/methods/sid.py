"""SID (Chen et al., Learning to See in the Dark, 2018): from the short raw to the long's picture.

The network does all that a raw developer does, and is trained end to end by the L1 between its
picture and the long frame as LibRaw develops it (section 4.2). The ratio, which its input is
multiplied by, sets the brightness. Every weight is trained, on one camera's pairs.
"""

from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

from ledcli.errors import PairError
from ledcli.nets.forms import SrgbForm, subpixel
from ledcli.nets.network import Network
from ledcli.raw.libraw import LIBRAW_VERSION
from ledcli.training.data.sampler import Batch
from ledcli.training.methods.base import (
    FinetuneMethod,
    FinetuneRecipe,
    MethodInputs,
    Pretrained,
    Start,
    psnr_of,
    transfer_weights,
)


@dataclass(frozen=True)
class SidRecipe(FinetuneRecipe):
    """What decides a training by SID besides the pairs and the start.

    Attributes
    ----------
    learning_rate : float
        Peak, of Muon for the kernels; Adam's for the rest follows.
    """

    iterations: int = 2000
    batch: int = 8
    learning_rate: float = 1e-3


class SidMethod(FinetuneMethod):
    """Trains all weights on pairs of a short raw and the long frame's picture.

    Raises PairError if the frames are too small.
    """

    name = "sid"
    recipe_type = SidRecipe
    trains_on_srgb = True
    baseline = "LibRaw's picture of the noisy frame"
    # The model stands beside the one that makes DNGs of this camera, and is not picked for it.
    name_suffix = "-sid"
    hint = "led denoise --model {name} makes pictures with it; it is never picked by itself"
    muon = True
    warm_up = 50
    parallel = True

    recipe: SidRecipe

    def __init__(self, recipe: SidRecipe, inputs: MethodInputs) -> None:
        assert inputs.srgb_pairs is not None
        self.srgb_pairs = inputs.srgb_pairs
        super().__init__(recipe, inputs)
        if not self.side:
            raise PairError("the frames are too small to tune: shoot them at full size")
        self.form = SrgbForm(self.srgb_pairs.planes)

    def max_side(self) -> int:
        """Return the largest side in cells that a crop may have."""
        return self.srgb_pairs.side

    def before(self, pretrained: Pretrained, *, bf16: bool) -> float:
        """Return the PSNR in dB of the noisy frames as LibRaw develops them."""
        batches = self.srgb_pairs.validation_batches()
        return fmean(psnr_of(noisy, batch.clean) for batch, noisy in batches)

    def begin(self, pretrained: Pretrained) -> Start:
        """Transfer the pretrained weights that fit; the first and last layer are initialised."""
        transferred = transfer_weights(pretrained, seed=self.recipe.seed, form=self.form)
        net = transferred.net
        if any(name.startswith(f"{net.architecture.last_layer}.") for name in transferred.new):
            start_at(net, self.srgb_pairs.mean())
        spec = replace(
            transferred.spec,
            input_form="gain",
            output="srgb",
            cfa=self.srgb_pairs.cfa,
            planes=self.srgb_pairs.planes,
        )
        return Start(spec, net, note=transferred.note)

    def loss(self, net: nn.Module, progress: float, generator: torch.Generator) -> Tensor:
        """Draw crops; return the L1 between the network's pictures and LibRaw's."""
        batch = self.srgb_pairs.batch(*self.workers_share(generator)).to(self.device)
        return (self.denoise(net, batch) - batch.clean).abs().mean()

    def denoise(self, net: nn.Module, batch: Batch) -> Tensor:
        """Return the pictures ``(N, 3, H, W)`` that the network makes."""
        return subpixel(self.form(net, *batch[1:]))

    def validation_batches(self) -> list[Batch]:
        """Return the validation crops with their pictures."""
        return [batch for batch, _ in self.srgb_pairs.validation_batches()]

    def record(self) -> dict[str, Any]:
        """Return what the pictures are."""
        return {"pictures": f"LibRaw {LIBRAW_VERSION}, camera white balance, sRGB"}


def start_at(net: Network, colour: Tensor) -> None:
    """Let a new last layer start with a colour ``(3,)`` everywhere.

    The colours of a picture are far from zero, and a bias moves slowly; what the layers before were
    trained to give is on another scale.
    """
    last = net.get_submodule(net.architecture.last_layer)
    assert isinstance(last, nn.Conv2d)
    if last.bias is None:
        return
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(colour.repeat_interleave(len(last.bias) // len(colour)))
