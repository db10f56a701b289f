"""What decides a run's bits besides its configuration: rows of tokens, the base under adapters, the arithmetic class.

They are written down when a run starts and held against when it is resumed, because the configuration names a text and
a machine but does not hold them: a file can be edited, a hub name can move on, and torch can be upgraded in between.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from shieldwall.core.arithmetic import ArithmeticClass
from shieldwall.core.errors import RunFolderError
from shieldwall.core.files import write_whole
from shieldwall.core.roots import tensor_bytes
from shieldwall.data import Blocks, Rows

_START_AGAIN = (
    "start a new run from the last checkpoint: --set model.name=RUN/checkpoints/step-N, or model.adapter= under LoRA"
)


def hold_inputs(path: Path, blocks: Blocks, arithmetic: ArithmeticClass, roots: Mapping[str, str]) -> None:
    """Write the inputs of a new run to `path`, or hold those of a resumed one against what stands there.

    Args:
        path: of the file.
        blocks: rows of tokens.
        arithmetic: class of this machine.
        roots: hashes of what else is read at each start and decides bits, by what it is.

    Raises:
        RunFolderError: SW-R106; text, tokenizer, model, kept weights or arithmetic class are not those that the run was
            started with.
        StorageError: SW-S101.
    """
    now = {
        "training_blocks": _root(blocks.train),
        "evaluation_blocks": _root(blocks.eval),
        **({f"examples.{name}": str(count) for name, count in asdict(blocks.tally).items()} if blocks.tally else {}),
        **roots,
        **{f"arithmetic.{name}": str(value) for name, value in asdict(arithmetic).items()},
    }
    if not path.exists():
        write_whole(path, (json.dumps(now, indent=2) + "\n").encode())
        return
    stored = _read(path)
    changed = [
        f"{name}: the run has {stored.get(name)}, now {value}"
        for name, value in now.items()
        if stored.get(name) != value
    ]
    if changed:
        raise RunFolderError(
            "SW-R106",
            "the run cannot go on with the bits that it was started with",
            where=str(path),
            expected="the same text, tokenizer, model, base of the adapters and arithmetic class",
            got="\n".join(changed),
            remedy=f"put them back; or {_START_AGAIN}",
        )


def _root(rows: Rows) -> str:
    """SHA-256 over the tokens; where rows have labels, then over these and the lengths of their examples as JSON."""
    digest = hashlib.sha256(tensor_bytes(rows.tokens_NT))
    if rows.labels_NT is not None:
        digest.update(tensor_bytes(rows.labels_NT))
        digest.update(json.dumps(rows.examples, separators=(",", ":")).encode())
    return digest.hexdigest()


def _read(path: Path) -> dict[str, str]:
    try:
        return dict(json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise RunFolderError(
            "SW-R107",
            "a file of the run cannot be read",
            where=str(path),
            expected="what the run wrote",
            got=str(error),
            remedy=_START_AGAIN,
        ) from error
