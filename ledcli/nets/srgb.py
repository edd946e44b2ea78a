"""SID's network (Chen et al., Learning to See in the Dark, 2018): from a raw to a picture.

It takes the place of the whole way from mosaic to screen: noise, white balance, demosaicing,
colours and the sRGB curve.
"""

import torch.nn.functional as F
from torch import Tensor, nn

COLOURS = 3


class SrgbForm:
    """SID's form (section 4.1): the network maps ``min(x * ratio, 1)`` to a picture's planes.

    Every cell of the mosaic makes as many pixels in three colours as it has itself: 12 planes of a
    Bayer sensor, 27 of an X-Trans. `subpixel` puts them in their places. The cells begin alike in
    every photo (sensor/cfa.py).

    Parameters
    ----------
    planes : int
        Planes of the mosaic; the network makes ``3 planes``.
    """

    unclipped_input = False

    def __init__(self, planes: int = 4) -> None:
        self.in_planes, self.out_planes = planes, COLOURS * planes

    def __call__(
        self, net: nn.Module, x: Tensor, ratio: Tensor, gain: Tensor, variance: Tensor
    ) -> Tensor:
        """Make of planes ``(N, planes, h, w)`` the picture's ``(N, 3 planes, h, w)``, sRGB."""
        out: Tensor = net((x * ratio.reshape(-1, 1, 1, 1)).clamp_max(1.0))
        return out.float()


def subpixel(planes: Tensor) -> Tensor:
    """Put a picture's planes in their places: the sub-pixel layer of Shi et al. (2016).

    Parameters
    ----------
    planes : Tensor ``(..., 12, h, w)``, or ``(..., 27, h, w)`` of an X-Trans
        By colour, then by row and by column in the cell.

    Returns
    -------
    Tensor ``(..., 3, 2h, 2w)``, or ``(..., 3, 3h, 3w)``
    """
    side = round((planes.shape[-3] / COLOURS) ** 0.5)
    return F.pixel_shuffle(planes, side)
