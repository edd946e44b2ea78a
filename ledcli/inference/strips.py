"""Strips: every stage of a network goes over the whole frame in horizontal strips.

A strip is as high as the cache allows. Stages follow one another down the frame: a strip is
computed when a later stage needs it, and the rows of a result are kept until no stage needs them
any more. Nothing is computed twice but the few rows that the convolutions of one stage reach, there
is no halo, and the result is that of the whole frame, but for rounding where a library computes low
and high frames in different ways.

The memory does not depend on the frame's height. For a frame ``w`` plane pixels wide and a network
of ``L`` levels below the top, with ``c`` channels at the top and twice as many a level further
down, the kept rows take at most about::

    1.5 (L + 1) w c (2^(L + 1) rows + reach)  samples

with strips of `rows` rows on every level, and `reach` the rows that the whole network reaches.
"""

import copy
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ledcli.nets.forms import FrameParameters, InputForm
from ledcli.nets.network import Stage, StagedNetwork, middle_rows
from ledcli.reporting import OnProgress

CPU_PIXELS, GPU_PIXELS = 100_000, 8_000_000
"""Pixels of a strip of the top level. Every level has the same rows: it has half the pixels of the
level above in a row, and twice the channels."""
MIN_ROWS = 8
"""Of a strip, below which the memory counts as full."""


def rows_of(width: int, device: torch.device, most: int | None = None) -> int:
    """Return the height of a strip for a frame so many plane pixels wide.

    `most` is what the memory is known to hold, pixels.
    """
    pixels = CPU_PIXELS if device.type == "cpu" else GPU_PIXELS
    rows = max(-(-pixels // width), 2 * MIN_ROWS)
    return rows if most is None else max(min(rows, most // width), MIN_ROWS)


class StripNetwork(NamedTuple):
    """A network twice, with the same weights: for strips at the frame's border, and inside."""

    padded: StagedNetwork
    unpadded: StagedNetwork
    """Its convolutions do not pad at the top and the bottom: the strip has the rows they take."""

    @classmethod
    def of(cls, net: StagedNetwork) -> "StripNetwork":
        """Make the second network."""
        shared = {id(tensor): tensor for tensor in (*net.parameters(), *net.buffers())}
        unpadded = copy.deepcopy(net, shared)
        for layer in unpadded.modules():
            if isinstance(layer, nn.Conv2d):
                assert not isinstance(layer.padding, str)
                layer.padding = (0, layer.padding[1])
        return cls(net, unpadded)


class _Rows:
    """The rows of a result ``(1, C, h, w)`` that are still needed; those before are dropped."""

    def __init__(self, height: int, whole: Tensor | None = None) -> None:
        self.height = height
        self.end = 0 if whole is None else height
        """Rows computed so far."""
        self._buffer, self._first = whole, 0

    def append(self, strip: Tensor, needed: int) -> None:
        """Add the next rows; rows before `needed` may be dropped."""
        end = self.end + strip.shape[2]
        if self._buffer is None or end - self._first > self._buffer.shape[2]:
            self._make_room(strip, needed, end)
        assert self._buffer is not None
        self._buffer[:, :, self.end - self._first : end - self._first] = strip
        self.end = end

    def _make_room(self, strip: Tensor, needed: int, end: int) -> None:
        """Move the rows that are needed to the start of the buffer, or of a larger one."""
        old, dropped, kept = self._buffer, needed - self._first, self.end - needed
        rows = min((end - needed) * 3 // 2, self.height - needed)
        if old is None or end - needed > old.shape[2] or 4 * dropped < kept:
            by_pixel = strip.stride(1) == 1
            self._buffer = torch.empty(
                (1, strip.shape[1], rows, strip.shape[3]),
                dtype=strip.dtype,
                device=strip.device,
                memory_format=torch.channels_last if by_pixel else torch.contiguous_format,
            )
        new = self._buffer
        if old is not None and new is not None:
            # A buffer's own rows move in steps that do not overlap.
            step = dropped if new is old else kept
            for start in range(0, kept, max(step, 1)):
                stop = min(start + step, kept)
                new[:, :, start:stop] = old[:, :, start + dropped : stop + dropped]
        self._first = needed

    def view(self, start: int, stop: int) -> Tensor:
        """Return rows of the frame's result."""
        assert self._buffer is not None
        return self._buffer[:, :, start - self._first : stop - self._first]


class StripRun:
    """A network's way over one frame ``(planes, h, w)`` with its input form.

    ``h`` and ``w`` are multiples of the network's. The frame may be on another device than the
    network and the `parameters`. `rows` is the height of a strip.
    """

    def __init__(
        self,
        net: StripNetwork,
        form: InputForm,
        frame: Tensor,
        parameters: FrameParameters,
        rows: int,
    ) -> None:
        self._frame, self._rows = frame, rows
        self._padded = _with_form(net.padded.stages(), form, parameters)
        self._unpadded = _with_form(net.unpadded.stages(), form, parameters)
        self._levels = [0, *(stage.level for stage in self._padded)]
        height = frame.shape[1]
        self._results = [_Rows(height, frame[None])]
        self._results += [_Rows(height >> stage.level) for stage in self._padded]

    def run(self, progress: OnProgress | None = None) -> Tensor:
        """Return the clean planes times the ratio, on the frame's device."""
        last, height = len(self._padded), self._frame.shape[1]
        result: Tensor | None = None
        for start in range(0, height, self._rows):
            stop = min(start + self._rows, height)
            strip = self._strip(last, start, stop)
            self._results[last].end = stop
            if result is None:
                result = self._frame.new_empty(strip.shape[1], *self._frame.shape[1:])
            result[:, start:stop] = strip[0]
            if progress is not None:
                shares = [each.end / each.height for each in self._results[1:]]
                progress(sum(shares) / len(shares))
        assert result is not None, "a frame has at least one row"
        return result

    def _strip(self, number: int, first: int, last: int) -> Tensor:
        """Return rows of a stage's result, and compute before what they take."""
        stage, height = self._padded[number - 1], self._results[number].height
        start, stop = self._extended(number, first, last)
        for n in stage.inputs:
            self._compute(n, self._scaled(stop, number, n), number)
        # Only now: rows move while they are computed.
        inputs = [
            self._results[n].view(self._scaled(start, number, n), self._scaled(stop, number, n))
            for n in stage.inputs
        ]
        border = start == 0 or stop == height
        strip = (self._padded if border else self._unpadded)[number - 1].run(*inputs)
        start += (stop - start - strip.shape[2]) // 2
        return strip[:, :, first - start : last - start]

    def _compute(self, number: int, until: int, finer: int) -> None:
        """Compute a stage's result up to a row that a finer or equal stage needs."""
        result = self._results[number]
        if self._levels[number] > self._levels[finer]:
            # A coarser level works ahead, so that its strips are not lower.
            until = min(-(-until // self._rows) * self._rows, result.height)
        while result.end < until:
            strips = -(-(until - result.end) // self._rows)
            last = result.end + -(-(until - result.end) // strips)
            result.append(self._strip(number, result.end, last), self._needed(number))

    def _extended(self, number: int, first: int, last: int) -> tuple[int, int]:
        """Return the rows that a stage takes, on its own level, for rows of its result."""
        stage, height = self._padded[number - 1], self._results[number].height
        # So many rows are one row of an input on a coarser level.
        step = max(1 << max(self._levels[n] - self._levels[number], 0) for n in stage.inputs)
        start, stop = max(first - stage.reach, 0), min(last + stage.reach, height)
        return start // step * step, -(-stop // step) * step

    def _scaled(self, row: int, number: int, other: int) -> int:
        """Return a stage's row on the level of another."""
        return (row << self._levels[number]) >> self._levels[other]

    def _needed(self, number: int) -> int:
        """Return the first row of a result that a later stage will still take."""
        takers = [n for n, stage in enumerate(self._padded, start=1) if number in stage.inputs]
        starts = ((n, self._extended(n, end := self._results[n].end, end)[0]) for n in takers)
        return min(self._scaled(start, n, number) for n, start in starts)


def _with_form(
    stages: Sequence[Stage], form: InputForm, parameters: FrameParameters
) -> list[Stage]:
    """Put the steps of the input form before, in and behind the stages of a network.

    The signal is a result of its own: it enters the network's first stage, and its last once more.
    """
    device = parameters.ratio.device
    encode = Stage(lambda x: form.encode(x.to(device), parameters), (0,), 0, form.reach)
    network = [each._replace(inputs=tuple(n + 1 for n in each.inputs)) for each in stages]
    first = network[0]

    def given(signal: Tensor) -> Tensor:
        planes = form.network_input(signal, parameters)
        return first.run(planes.contiguous(memory_format=torch.channels_last))

    network[0] = first._replace(run=given)
    last = network[-1]

    def decode(*inputs: Tensor) -> Tensor:
        out = last.run(*inputs[:-1])
        return form.decode(out, middle_rows(inputs[-1], out.shape[2]), parameters)

    network[-1] = last._replace(run=decode, inputs=(*last.inputs, 1))
    return [encode, *network]
