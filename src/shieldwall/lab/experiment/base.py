"""The models that cells start from: pretrained on other text, once, and kept."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from shieldwall.config import Config
from shieldwall.core.canonical import canonical_bytes
from shieldwall.core.roots import weights_root
from shieldwall.lab.experiment.scale import Scale
from shieldwall.lab.experiment.texts import Texts
from shieldwall.models.source import find_folder, open_source
from shieldwall.run.train import train

BASES = "bases"
PRETRAIN_SEED = 0
"""Of all base models: what differs between a cell's seeds is the order of its text and its attacker."""

_TINY = "tiny:"


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseTask:
    """A base model that cells need."""

    family: str
    name: str
    """As `model.name` of a run: `tiny:FAMILY` is pretrained, what is anything else is taken as it is."""
    corpus: str
    """What it is pretrained on."""
    scale: Scale
    folder: Path
    """Where it goes."""

    def __str__(self) -> str:
        return f"base model {self.name}, pretrained on {self.corpus}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One base model on one corpus: what the cells of a family and a corpus have in common."""

    family: str
    corpus: str
    base: Path
    texts: Texts
    layers: int
    basis: str
    """Hash over sizes, the base's weights and the text."""


def base_task(family: str, texts: Texts, scale: Scale, out: Path, model: str) -> BaseTask:
    """The base model for a family on a corpus; `model` takes the place of the scale's own, "" where it does not."""
    name = model or dict(scale.hub).get(family, f"{_TINY}{family}")
    task = BaseTask(family=family, name=name, corpus=texts.pretrained_on, scale=scale, folder=Path())
    root = hashlib.sha256(canonical_bytes(pretraining(task).deciding())).hexdigest()[:12]
    return BaseTask(
        family=family,
        name=name,
        corpus=texts.pretrained_on,
        scale=scale,
        folder=out / BASES / f"{family}-{texts.pretrained_on}-{root}",
    )


def is_ready(task: BaseTask) -> bool:
    """Whether the base model need not be made first."""
    return not task.name.startswith(_TINY) or task.folder.exists()


def make_base(task: BaseTask) -> Path:
    """Pretrain the base model with the product itself and keep its `model/`.

    Raises:
        ShieldwallError: as `train`.
    """
    task.folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=task.folder.parent, prefix=".work-") as work:
        made = train(pretraining(task), folder=Path(work) / "run").folder / "model"
        made.rename(task.folder)
    return task.folder


def remove_unfinished(out: Path) -> None:
    """Delete what a killed pretraining left."""
    for folder in (out / BASES).glob(".work-*"):
        shutil.rmtree(folder, ignore_errors=True)


def describe_subject(task: BaseTask, texts: Texts) -> Subject:
    """The subject, once its base model is there.

    Raises:
        ModelError: SW-M1...; a given model cannot be used.
    """
    folder = task.folder if task.name.startswith(_TINY) else open_source(find_folder(task.name)).folder
    basis = {"size": asdict(task.scale.size), "base": weights_root(folder), "text": texts.root}
    return Subject(
        family=task.family,
        corpus=texts.name,
        base=folder,
        texts=texts,
        layers=int(open_source(folder).config.num_hidden_layers),
        basis=hashlib.sha256(canonical_bytes(basis)).hexdigest()[:16],
    )


def pretraining(task: BaseTask) -> Config:
    """The run that makes a base model: whole in one stage, which gives the same bits as in six."""
    scale, size = task.scale, task.scale.size
    values = {
        "run": {"seed": PRETRAIN_SEED, "steps": scale.pretrain_steps, "threads": 1, "device": scale.device},
        "model": {
            "name": task.name,
            "layers": size.layers,
            "width": size.width,
            "heads": size.heads,
            "dropout": 0.0,
        },
        "data": {
            "corpus": task.corpus,
            "block_tokens": size.block_tokens,
            "vocabulary": size.vocabulary,
            "eval_blocks": scale.eval_blocks,
        },
        "pipeline": {
            "stages": 1,
            "micro_batches": size.micro_batches,
            "micro_batch_size": size.micro_batch_size,
        },
        "optimizer": {
            "learning_rate": scale.pretrain_rate,
            "warmup_steps": min(100, scale.pretrain_steps // 10),
        },
        "evaluation": {"every_steps": 0},
        "verify": {"policy": "none"},
        "checkpoint": {"every_steps": 0},
    }
    return Config.parse(values, str(task))
