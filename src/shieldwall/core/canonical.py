"""One text for one content: how everything that is signed or chained is written as bytes."""

from __future__ import annotations

import json
from typing import Any


def canonical_bytes(content: Any) -> bytes:
    """`content` (plain data) as JSON in UTF-8, keys sorted, no blanks, no NaN; the same content has the same bytes.

    Raises:
        ValueError: a number is not finite.
    """
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
