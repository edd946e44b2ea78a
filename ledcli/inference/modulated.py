"""A modulated network at work: for each camera and ISO the plain network that it then is."""

from collections.abc import Callable

from torch import nn

from ledcli.nets.modulation import Modulated
from ledcli.photo.exif import Exif
from ledcli.zoo.pick import is_camera


class FoldedByShot:
    """Folds a modulated network for a shot, and keeps the last: a run has few ISOs.

    Parameters
    ----------
    modulated : Modulated
    prepared : callable
        Makes a plain network ready to run.
    """

    def __init__(self, modulated: Modulated, prepared: Callable[[nn.Module], nn.Module]) -> None:
        self.modulated, self.prepared = modulated, prepared
        self._known: tuple[str | None, float | None] | None = None
        self._net: nn.Module | None = None

    def net(self, exif: Exif | None) -> nn.Module:
        """Return the network for a shot; of a sensor that it does not know, without modulation."""
        known: tuple[str | None, float | None] = (None, None)
        if exif is not None:
            names = (n for n in self.modulated.sensors if is_camera(exif.camera, exif.make, [n]))
            known = (next(names, None), exif.iso)
        if self._net is None or known != self._known:
            self._net, self._known = self.prepared(self.modulated.folded(*known)), known
        return self._net
