"""From the two files of llama2.c to a folder in Hugging Face layout, whole or absent."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from shieldwall.core.errors import ModelError
from shieldwall.core.files import whole_folder
from shieldwall.lab.llama2c.llama import to_llama
from shieldwall.lab.llama2c.model_file import Header, read_model_file
from shieldwall.lab.llama2c.tokenizer import to_fast_tokenizer
from shieldwall.lab.llama2c.tokenizer_file import read_tokenizer_file
from shieldwall.models.quiet import without_progress_bars


@dataclass(frozen=True, slots=True)
class Converted:
    """What was written: where, of which sizes, and how many numbers the weights are."""

    folder: Path
    header: Header
    parameters: int


def convert(model_file: Path, tokenizer_file: Path, out: Path) -> Converted:
    """Write `out` with config.json, model.safetensors and the tokenizer's files.

    Args:
        model_file: of llama2.c, in its legacy float32 format.
        tokenizer_file: of llama2.c; has as many tokens as the model.
        out: the folder to make; it must not exist.

    Raises:
        ModelError: SW-M120 to SW-M125, a file cannot be used; SW-M126, `out` exists. Nothing was written.
        StorageError: SW-S101; `out` does not exist.
    """
    if out.exists() or out.is_symlink():
        raise ModelError(
            "SW-M126",
            "the folder to write exists already",
            where=str(out),
            expected="a folder that is not there yet",
            got="a folder" if out.is_dir() else "a file or a link",
            remedy="name another folder, or remove this one yourself; nothing is ever overwritten",
        )
    header, tensors = read_model_file(model_file)
    tokenizer = to_fast_tokenizer(read_tokenizer_file(tokenizer_file, header.vocabulary), header.positions)
    model = to_llama(header, tensors)
    with whole_folder(out) as partial, without_progress_bars():
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
    return Converted(out, header, int(model.num_parameters()))
