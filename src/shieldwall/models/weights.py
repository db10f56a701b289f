"""Reading weights lazily: each tensor when it is asked for, never the whole file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from shieldwall.core.errors import CheckpointError, ModelError
from shieldwall.core.roots import open_safetensors, tensor_names, tensors_root

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"


class WeightFiles:
    """The safetensors of one model folder, by tensor name.

    Args:
        folder: a folder in Hugging Face layout.
        base_prefix: name of the model's body; some checkpoints leave it out of their names.
        stored_names: parameters that checkpoints may hold under another name, and that name.

    Raises:
        ModelError: SW-M104, the folder holds no safetensors.
        CheckpointError: SW-K102, a file is damaged; SW-K103, the index names a file that is not there.
    """

    def __init__(self, folder: Path, base_prefix: str, stored_names: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self._stored_names = stored_names or {}
        self._base_prefix = f"{base_prefix}."
        self._home = _names_to_files(folder)

    def read(self, shapes: Mapping[str, tuple[int, ...]], dtype: torch.dtype) -> dict[str, Tensor]:
        """The tensors named in `shapes`, in that order, as `dtype`.

        Raises:
            CheckpointError: SW-K104, a tensor is missing; SW-K105, a tensor has another shape; SW-K102, damaged.
        """
        return {name: self._read_one(name, shape).to(dtype) for name, shape in shapes.items()}

    def check(self) -> None:
        """Open every file once, so that a damaged one is found before anything is built.

        Raises:
            CheckpointError: SW-K102.
        """
        for path in sorted(set(self._home.values())):
            tensor_names(path)

    def root(self) -> str:
        """Hash over all tensors, as `weights_root` of a folder that holds nothing else.

        Raises:
            CheckpointError: SW-K102.
        """
        return tensors_root(self._home)

    def _read_one(self, name: str, shape: tuple[int, ...]) -> Tensor:
        stored = self._stored_name(name)
        if stored is None:
            raise CheckpointError(
                "SW-K104",
                "the checkpoint lacks a tensor",
                where=str(self.folder),
                expected=f"{name} {list(shape)}",
                got=f"{len(self._home)} tensors, this one not among them",
                remedy="take config.json and weights from the same save",
            )
        with open_safetensors(self._home[stored]) as handle:
            tensor: Tensor = handle.get_tensor(stored)
        if tuple(tensor.shape) != shape:
            raise CheckpointError(
                "SW-K105",
                "a tensor of the checkpoint has another shape than the configuration says",
                where=f"{self._home[stored]}, {stored}",
                expected=str(list(shape)),
                got=str(list(tensor.shape)),
                remedy="take config.json and weights from the same save",
            )
        return tensor

    def _stored_name(self, name: str) -> str | None:
        candidates = (name, name.removeprefix(self._base_prefix), self._stored_names.get(name))
        return next((candidate for candidate in candidates if candidate in self._home), None)


def _names_to_files(folder: Path) -> dict[str, Path]:
    """The files that transformers would read: the single one before the index, and nothing else that lies there."""
    single, index = folder / SINGLE_FILE, folder / INDEX_FILE
    if single.exists():
        return dict.fromkeys(tensor_names(single), single)
    if index.exists():
        return _read_index(index)
    raise ModelError(
        "SW-M104",
        "the model folder holds no weights that can be read",
        where=str(folder),
        expected=f"{SINGLE_FILE}, or shards with {INDEX_FILE}",
        got=_listing(path.name for path in folder.iterdir()),
        remedy="save it with save_pretrained(..., safe_serialization=True); pickled weights are never loaded",
    )


def _read_index(index: Path) -> dict[str, Path]:
    try:
        weight_map = dict(json.loads(index.read_text())["weight_map"])
        files = {str(name): index.parent / Path(file).name for name, file in weight_map.items()}
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            "SW-K102",
            f"{index.name} cannot be read",
            where=str(index),
            expected='JSON with a "weight_map"',
            got=f"{type(error).__name__}: {error}",
            remedy="copy or download the file again",
        ) from error
    for path in sorted(set(files.values())):
        if not path.exists():
            raise CheckpointError(
                "SW-K103",
                "a shard of the checkpoint is missing",
                where=str(path),
                expected=f"the file that {INDEX_FILE} names",
                got="no such file",
                remedy="copy or download the folder again",
            )
    return files


def _listing(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)[:8]) or "an empty folder"
