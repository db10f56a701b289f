"""Whether given adapters belong to the run's model."""

from __future__ import annotations

from pathlib import Path

from shieldwall.config import ModelSection
from shieldwall.core.errors import ModelError
from shieldwall.models.adapter_folder import AdapterFolder
from shieldwall.models.adapters import is_adapter
from shieldwall.models.settings import ModelSettings
from shieldwall.models.skeleton import build_skeleton, parameter_shapes
from shieldwall.models.source import ModelSource, is_folder, tiny_family
from shieldwall.models.weights import WeightFiles


def check_adapter(model: ModelSection, source: ModelSource, settings: ModelSettings) -> None:
    """Refuse given adapters that were trained on another model.

    A `tiny:` model that is not made yet has no weights to compare; its shapes are compared.

    Raises:
        ModelError: SW-M133, they name another base; SW-M134, their tensors do not fit.
    """
    if not model.adapter:
        return
    adapter = AdapterFolder(Path(model.adapter))
    check_shapes(adapter, settings)
    made = source.folder.is_dir()
    if adapter.base and made and not _same_base(adapter.base, model, source):
        raise ModelError(
            "SW-M133",
            "the adapters name another model",
            where=str(adapter.folder / "adapter_config.json") + ", base_model_name_or_path",
            expected=f"{base_name(model, source)}, or a folder with the same weights",
            got=adapter.base,
            remedy="give the model that they were trained on; if it only moved, correct that line",
        )


def check_shapes(adapter: AdapterFolder, settings: ModelSettings) -> None:
    """Hold the adapters' tensors against the model that `settings` describe.

    Raises:
        ModelError: SW-M134 or SW-M132.
    """
    shapes = parameter_shapes(build_skeleton(settings))
    adapter.check({name: shape for name, shape in shapes.items() if is_adapter(name)})


def base_name(model: ModelSection, source: ModelSource) -> str:
    """What adapters call their base: the hub's name, or the folder."""
    local = tiny_family(model.name) is not None or is_folder(model.name)
    return str(source.folder.resolve()) if local else model.name


def _same_base(recorded: str, model: ModelSection, source: ModelSource) -> bool:
    """The same name; else the same weights, where the named base is at hand; else the same last part of the name."""
    name = base_name(model, source)
    if recorded == name:
        return True
    theirs = _root_at(recorded, source)
    if theirs is not None:
        return theirs == _root_at(str(source.folder), source)
    return Path(recorded).name == Path(name).name and tiny_family(model.name) is None


def _root_at(folder: str, source: ModelSource) -> str | None:
    """Hash over the weights of a model folder; None where there are none."""
    if not is_folder(folder):
        return None
    try:
        return WeightFiles(Path(folder), "", source.family.stored_names).root()
    except ModelError:
        return None
