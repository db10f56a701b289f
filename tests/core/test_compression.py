"""What is packed and unpacked is near what it was, and goes no further from it, however often it is passed on."""

from __future__ import annotations

import itertools
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rounding import rounded
from shieldwall.core.compression import BLOCK, Compression, CompressionKind
from shieldwall.core.errors import TransportError

KINDS: tuple[CompressionKind, ...] = get_args(CompressionKind)
DTYPES = (torch.float32, torch.bfloat16)
EXTREMES = (0.0, -0.0, 1e-45, -1.2e-38, 1.17549435e-38, 1.5e-36, 1.4923e-36, -3.3e38, 3.38e38, 1.0, -127.0, 0.5, 1.5)
MANY = settings(max_examples=150, deadline=None, derandomize=True)

LARGEST = 1.984375 * 2.0**127
finite = st.sampled_from(EXTREMES) | st.floats(-LARGEST, LARGEST, width=32) | st.floats(-4, 4, width=32)


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    """(B, T, D) float32 with whole blocks, a partial one, or both; drawn numbers among random ones of some size."""
    shape = (draw(st.integers(1, 2)), draw(st.integers(1, 2)), draw(st.sampled_from([1, 3, 127, 128, 129, 256, 300])))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    tensor = torch.randn(shape, generator=generator) * draw(st.sampled_from([0.0, 1e-42, 1e-37, 1e-3, 1.0, 1e30]))
    some = torch.tensor(draw(st.lists(finite, max_size=8)), dtype=torch.float32)
    places = torch.randperm(tensor.numel(), generator=generator)[: len(some)]
    tensor.view(-1)[places] = some[: len(places)]
    return tensor


def same_bits(first: Tensor, second: Tensor) -> bool:
    return (first.dtype, first.shape) == (second.dtype, second.shape) and torch.equal(
        first.contiguous().view(torch.uint8), second.contiguous().view(torch.uint8)
    )


@MANY
@given(tensors(), st.sampled_from(KINDS), st.sampled_from(DTYPES))
def test_it_has_the_size_that_was_said_and_passes_on_unchanged(
    tensor: Tensor, kind: CompressionKind, dtype: torch.dtype
) -> None:
    """Law: pack(unpack(p)) is p. So unpack(pack(unpack(p))) is unpack(p), and who hands on changes nothing."""
    compression = Compression(kind, dtype)
    sent = compression.pack(tensor.to(dtype))
    shape = tuple(tensor.shape)
    assert (tuple(sent.shape), sent.nbytes) == (compression.sent_shape(shape), compression.sent_bytes(shape))
    assert sent.dtype == (compression.sent_dtype or dtype)
    assert sent.is_contiguous()
    arrived = compression.unpack(sent)
    assert (arrived.shape, arrived.dtype) == (tensor.shape, dtype)
    assert arrived.is_contiguous()
    assert same_bits(compression.pack(arrived), sent)


@MANY
@given(tensors())
def test_no_number_is_further_off_than_half_its_block_s_scale(tensor: Tensor) -> None:
    """Half, and what the quotient and the product are rounded by themselves."""
    arrived = Compression("int8").unpack(Compression("int8").pack(tensor))
    for row, found in zip(tensor.flatten(0, -2), arrived.flatten(0, -2), strict=True):
        for block, near in zip(row.split(BLOCK), found.split(BLOCK), strict=True):
            scale = max(float(block.abs().max()) / 127, torch.finfo(torch.float32).tiny)
            off = (block.double() - near.double()).abs().max()
            assert float(off) <= scale / 2 * (1 + 1e-4)


@MANY
@given(tensors(), st.sampled_from(["bf16", "int8"]))
def test_the_bits_are_those_of_the_formula(tensor: Tensor, kind: CompressionKind) -> None:
    """Another way to write it down, number by number, gives the same; the sign of a zero aside."""
    compression = Compression(kind)
    assert torch.equal(compression.unpack(compression.pack(tensor)), rounded(tensor, kind))


@MANY
@given(tensors())
def test_what_bfloat16_holds_is_kept_exactly(tensor: Tensor) -> None:
    exact = tensor.to(torch.bfloat16).float()
    assert same_bits(Compression("bf16").unpack(Compression("bf16").pack(exact)), exact)


def test_nothing_is_copied_where_nothing_is_compressed() -> None:
    tensor = torch.randn(2, 3, 4)
    assert Compression().unpack(Compression().pack(tensor)) is tensor


@pytest.mark.parametrize("kind", ["bf16", "int8"])
def test_zeros_stay_zeros_and_blocks_do_not_touch_each_other(kind: CompressionKind) -> None:
    tensor = torch.zeros(1, 2, 2 * BLOCK + 1)
    tensor[0, 0, BLOCK:] = 1e6
    arrived = Compression(kind).unpack(Compression(kind).pack(tensor))
    assert not arrived[0, 0, :BLOCK].any()
    assert not arrived[0, 1].any()
    assert bool(arrived[0, 0, BLOCK:].all())


@pytest.mark.parametrize("kind", ["bf16", "int8"])
@pytest.mark.parametrize("broken", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_does_not_arrive_as_finite(kind: CompressionKind, broken: float) -> None:
    tensor = torch.randn(1, 2, BLOCK + 5)
    tensor[0, 1, 3] = broken
    arrived = Compression(kind).unpack(Compression(kind).pack(tensor))
    assert not bool(torch.isfinite(arrived[0, 1, 3]))
    assert bool(torch.isfinite(arrived[0, 0]).all())
    assert bool(torch.isfinite(arrived[0, 1, BLOCK:]).all())


def test_every_width_is_known_from_what_is_sent() -> None:
    compression = Compression("int8")
    found = [compression.unpack(compression.pack(torch.ones(1, width))).shape[-1] for width in range(1, 600)]
    assert found == list(range(1, 600))


@pytest.mark.parametrize(
    "sent",
    [
        torch.zeros(1, 2, 4, dtype=torch.int8),
        torch.zeros(1, 2, 0, dtype=torch.int8),
        torch.zeros(1, 2, BLOCK + 4 + 3, dtype=torch.int8),
        torch.zeros((), dtype=torch.int8),
        torch.zeros(1, 2, 20),
    ],
    ids=["only a scale", "nothing", "half a scale", "no row", "another type"],
)
def test_what_nobody_packs_is_refused(sent: Tensor) -> None:
    with pytest.raises(TransportError, match="SW-T107") as caught:
        Compression("int8").unpack(sent)
    assert "int8, each row with the scales of its blocks" in str(caught.value)


def test_packing_is_the_same_whatever_the_layout() -> None:
    """A view with other strides is packed as its contiguous copy."""
    tensor = torch.randn(5, 4, 3).permute(2, 1, 0)
    for kind, dtype in itertools.product(KINDS[1:], DTYPES):
        compression = Compression(kind, dtype)
        assert same_bits(compression.pack(tensor), compression.pack(tensor.contiguous()))
