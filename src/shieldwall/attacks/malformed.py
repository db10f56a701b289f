"""Frames that nobody may use."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from shieldwall.attacks.base import Attack, Turn
from shieldwall.core.messages import TensorFrame
from shieldwall.core.signing import Signed
from shieldwall.core.statements import Header


class Malformed(Attack):
    """Damages a frame after it was signed.

    Formula: unsigned: no header; wrong_signature: a bit of it flipped; altered: the header names another micro-batch;
        shape: the elements in one row; dtype: another type; truncated: half of each row; nan, infinity: in the first
        element, or under compression to integers in the last scale
    Sees: the frames that it sends. In a run that checks nothing there is no header to damage.
    Source: malformed input: not finite, wrong shape, re-used signature.
    Caught by: validation on the wire, before anything of it is used; a refusal by itself proves no guilt.
    """

    row: ClassVar[int | None] = 31

    form: Literal["unsigned", "wrong_signature", "altered", "shape", "dtype", "truncated", "nan", "infinity"] = Field(
        default="wrong_signature", description="what is wrong with the frame"
    )

    def post(self, turn: Turn, frame: TensorFrame) -> TensorFrame:
        del turn
        if self.form in ("unsigned", "wrong_signature", "altered"):
            return replace(frame, header=self._wrong_header(frame.header))
        return replace(frame, tensor=self._wrong_tensor(frame.tensor))

    def _wrong_header(self, header: Signed[Header] | None) -> Signed[Header] | None:
        if header is None or self.form == "unsigned":
            return None
        if self.form == "wrong_signature":
            last = header.signature[-1] ^ 1
            return replace(header, signature=header.signature[:-1] + bytes([last]))
        slot = header.statement.slot
        return replace(
            header, statement=replace(header.statement, slot=replace(slot, micro_batch=slot.micro_batch + 1))
        )

    def _wrong_tensor(self, tensor: Tensor) -> Tensor:
        if self.form == "shape":
            return tensor.reshape(1, -1)
        if self.form == "dtype":
            return tensor.to(torch.float32 if tensor.dtype == torch.float64 else torch.float64)
        if self.form == "truncated":
            return tensor[..., : tensor.shape[-1] // 2].contiguous()
        damaged, broken = tensor.clone().view(-1), torch.tensor(float("nan") if self.form == "nan" else float("inf"))
        if tensor.is_floating_point():
            damaged[0] = broken
        else:
            damaged[-broken.nbytes :] = broken.reshape(1).view(tensor.dtype)
        return damaged.view(tensor.shape)
