"""What a worker on another machine is told before it takes a stage, and what it makes of that."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import torch
from pydantic import TypeAdapter, ValidationError

from shieldwall.core.compression import Compression, CompressionKind
from shieldwall.core.messages import Welcome
from shieldwall.core.roots import dtype_name
from shieldwall.models.lora_file import CONFIG_FILE, lora_plain, read_lora
from shieldwall.models.settings import ModelSettings
from shieldwall.models.source import open_source
from shieldwall.pipeline.holdings import HostSettings
from shieldwall.pipeline.optimizer import OptimizerSettings
from shieldwall.run.model import DTYPES
from shieldwall.schedule import Topology
from shieldwall.transport.codec.garbled import garbled

if TYPE_CHECKING:
    from peft import LoraConfig


def describe(
    settings: HostSettings,
    *,
    run: str,
    topology: Topology,
    checked: bool,
    threads: int,
    frame_bytes: int,
    state_bytes: int,
    silence_s: float,
    rows: int = 1,
) -> Welcome:
    """Everything that a host is told, as plain data."""
    model = settings.model
    return Welcome(
        run=run,
        topology=topology,
        checked=checked,
        threads=threads,
        seed=settings.seed,
        model=json.dumps(model.config.to_dict(), default=str, sort_keys=True),
        attention=model.attention,
        dtype=dtype_name(model.dtype),
        autocast=model.autocast,
        adapter="" if model.adapter is None else json.dumps(lora_plain(model.adapter)),
        optimizer=json.dumps(asdict(settings.optimizer)),
        gradient_checkpointing=settings.gradient_checkpointing,
        compression=settings.compression.kind,
        frame_bytes=frame_bytes,
        state_bytes=state_bytes,
        silence_s=silence_s,
        rows=rows,
    )


def settings_of(welcome: Welcome, device: torch.device) -> HostSettings:
    """What a host of the run is to be told.

    The configurations are read as strictly as a user's own: known families and plain LoRA alone, and no code.

    Raises:
        ModelError: SW-M1...; the model or its adapters are none that are known here.
        TransportError: SW-T107; something else cannot be read.
    """
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "config.json").write_text(welcome.model)
        config = open_source(folder).config
        adapter: LoraConfig | None = None
        if welcome.adapter:
            (folder / CONFIG_FILE).write_text(welcome.adapter)
            adapter = read_lora(folder)
    if welcome.dtype not in DTYPES:
        raise garbled("Welcome.dtype", f"one of: {', '.join(DTYPES)}", welcome.dtype)
    return HostSettings(
        model=ModelSettings(
            config=config,
            attention=welcome.attention,
            dtype=DTYPES[welcome.dtype],
            autocast=welcome.autocast,
            adapter=adapter,
        ),
        seed=welcome.seed,
        device=device,
        optimizer=_optimizer(welcome.optimizer),
        gradient_checkpointing=welcome.gradient_checkpointing,
        compression=Compression(_compression(welcome.compression), DTYPES[welcome.dtype]),
    )


def _compression(name: str) -> CompressionKind:
    kinds: tuple[CompressionKind, ...] = get_args(CompressionKind)
    for kind in kinds:
        if kind == name:
            return kind
    raise garbled("Welcome.compression", f"one of: {', '.join(kinds)}", name[:80])


def _optimizer(text: str) -> OptimizerSettings:
    try:
        settings: Any = TypeAdapter(OptimizerSettings).validate_json(text)
    except ValidationError as error:
        raise garbled("Welcome.optimizer", "settings of an optimizer", text[:80]) from error
    found: OptimizerSettings = settings
    return found
