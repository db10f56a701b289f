"""Factors that change something: a parameter that several kinds have."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator


def _is_no_identity(factor: float) -> float:
    if factor == 1:
        raise ValueError("a factor of 1 changes nothing")
    return factor


Factor = Annotated[float, AfterValidator(_is_no_identity)]
"""A factor other than 1."""
