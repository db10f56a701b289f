"""How fast a machine is: the same small piece of work on each, with the run's threads and type of numbers.

A run's costs are measured on the initiator's machine, with real layers. What is wanted of the others is a ratio, so a
probe that looks like a layer's larger half is enough: two products of matrices with an activation between them, forward
and backward. It is small enough for a slow machine and takes no model to be built.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from shieldwall.models.settings import ModelSettings

_WIDEST = 512
_MOST_OPERATIONS = 5e8
"""Of one pass: a quarter of a second on a machine that does two thousand million a second."""
_WINDOW_S = 0.25
"""For so long passes are counted, and never fewer than two. A share of a processor shows: it is given out in tenths of
a second."""
_LEAST_PASSES = 2


@dataclass(frozen=True, slots=True)
class Probe:
    """The standard piece of work of one run: `rows` x `width` through `width` x 4 `width` and back."""

    rows: int
    width: int
    dtype: torch.dtype

    @classmethod
    def of(cls, model: ModelSettings, rows: int) -> Probe:
        """What fits a run.

        Args:
            model: of the run.
            rows: tokens of a micro-batch.
        """
        width = min(_WIDEST, max(1, int(model.config.hidden_size)))
        operations = 3 * 2 * 2 * 4 * width * width  # of a row: forward and twice as many backward, of two products
        dtype = torch.bfloat16 if model.autocast else model.dtype
        return cls(max(1, min(rows, int(_MOST_OPERATIONS / operations))), width, dtype)

    def passes_per_s(self, device: torch.device) -> float:
        """How many of it `device` does in a second; takes a quarter of a second, on slow machines up to one.

        Raises:
            MemoryError, RuntimeError: there is not enough memory for it.
        """
        generator = torch.Generator().manual_seed(0)
        in_ND = torch.randn(self.rows, self.width, generator=generator).to(device, self.dtype)
        up_DF = torch.randn(self.width, 4 * self.width, generator=generator).to(device, self.dtype).requires_grad_(True)
        down_FD = torch.randn(4 * self.width, self.width, generator=generator).to(device, self.dtype)
        down_FD.requires_grad_(True)

        def work() -> None:
            entry_ND = in_ND.detach().requires_grad_(True)
            out_ND = torch.nn.functional.gelu(entry_ND @ up_DF) @ down_FD
            torch.autograd.backward(out_ND, torch.ones_like(out_ND))
            up_DF.grad = down_FD.grad = None
            if device.type == "cuda":
                torch.cuda.synchronize(device)

        work()  # the first one also loads kernels
        began_s, passes = time.perf_counter(), 0
        while passes < _LEAST_PASSES or time.perf_counter() - began_s < _WINDOW_S:
            work()
            passes += 1
        return passes / (time.perf_counter() - began_s)
