"""The one configuration of a run: typed, frozen, checked once, free of secrets.

A configuration is a TOML file; what it leaves out takes the defaults below, which train the embedded example. Each
key's description here is also what `shieldwall config init` prints.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from shieldwall.core.errors import ConfigError
from shieldwall.core.roots import config_root


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=())


Spec = Annotated[str, Field(min_length=1)]
"""A corpus, as `data.corpus` names it."""


class RunSection(_Section):
    """The run as a whole."""

    seed: int = Field(0, ge=0, description="decides the first weights of tiny: models, the order of data, and dropout")
    steps: int = Field(60, ge=1, description="optimizer updates")
    epochs: float = Field(0.0, ge=0.0, description="above 0: instead of steps, so often through the training rows")
    name: str = Field("", pattern=r"^[^/]*$", description='folder under runs/; "" makes a unique one')
    threads: int = Field(2, ge=1, le=1024, description="threads inside one operation; part of the arithmetic class")
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description='"auto", "cpu", "cuda" or "cuda:N"')
    tensorboard: bool = Field(False, description='write events for TensorBoard to board/; needs the extra "board"')


class ModelSection(_Section):
    """Which model, and for tiny: models its size."""

    name: str = Field("tiny:gpt2", min_length=1, description="tiny:FAMILY, a local folder, or a name on the hub")
    layers: int = Field(6, ge=1, le=1024, description="tiny: number of layers")
    width: int = Field(128, ge=2, le=65536, description="tiny: width of the hidden state")
    heads: int = Field(4, ge=1, description="tiny: attention heads; must divide the width")
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="type of the weights and of computing")
    autocast: bool = Field(False, description="compute in bfloat16 where that is safe; weights stay in float32")
    dropout: float | None = Field(
        None, ge=0.0, lt=1.0, description="sets every dropout probability; left out: as the model's configuration says"
    )
    attention: Literal["auto", "sdpa", "eager"] = Field(
        "auto", description="attention implementation; auto: the first that the family has"
    )
    lora_rank: int = Field(0, ge=0, le=65536, description="above 0: train LoRA adapters of this rank and nothing else")
    lora_alpha: float = Field(16.0, gt=0.0, description="the adapters' output is scaled by lora_alpha / lora_rank")
    lora_dropout: float = Field(0.0, ge=0.0, lt=1.0, description="dropout before each adapter")
    lora_targets: list[str] = Field(
        [], description='modules that get adapters, or ["all-linear"]; left empty: what peft takes for the model'
    )
    adapter: str = Field("", description="folder with LoRA adapters to go on from; they bring rank and targets")


class DataSection(_Section):
    """Which text, and how it becomes rows of tokens."""

    corpus: Spec | Annotated[list[Spec], Field(min_length=1)] = Field(
        "pydoc",
        description="pydoc, stdlib, text:PATH, jsonl|csv|parquet:PATH:FIELD, hf:NAME[/CONFIG], or a list of these",
    )
    text_field: str = Field("text", min_length=1, description="hf: the field that holds the text")
    hf_split: str = Field("train", min_length=1, description="hf: the split that is read")
    prompt: str = Field("", description='field, or a template such as "Question: {question}"; no loss on it')
    completion: str = Field("", description="likewise; the loss is on it alone. Tables then name no field in corpus")
    packing: bool = Field(True, description="fill rows with several examples; false: one each, padded on the right")
    block_tokens: int = Field(128, ge=2, le=1_048_576, description="tokens in a row; at most the model's positions")
    eval_fraction: float = Field(0.1, gt=0.0, le=0.5, description="share of the text, at its end, kept for evaluation")
    eval_blocks: int = Field(64, ge=0, description="evaluation rows that are used, from the first; 0: all")
    vocabulary: int = Field(4096, ge=257, le=1_000_000, description="tiny: size of the tokenizer trained on the corpus")


class PipelineSection(_Section):
    """How the model is cut and in which order its parts work."""

    stages: int = Field(6, ge=1, le=1024, description="parts of the model; the first and the last are the initiator's")
    workers: int | None = Field(None, ge=1, description="hosts of the middle stages; left out: one for each stage")
    speeds: list[float] = Field(
        [], description="relative speed of each host for the cut, the initiator first; left empty: all the same"
    )
    micro_batches: int = Field(4, ge=1, le=65536, description="micro-batches of a step")
    micro_batch_size: int = Field(2, ge=1, le=65536, description="sequences in a micro-batch")
    batch_size: int | None = Field(
        None,
        ge=1,
        le=2**32,
        description="sequences in a step, a multiple of micro_batches; instead of micro_batch_size",
    )
    schedule: str = Field("gpipe", description='"gpipe" or "1f1b"')
    gradient_checkpointing: bool = Field(
        False, description="keep only each stage's inputs and compute the rest again: less memory, more time"
    )
    topology: Literal["chain"] = Field("chain", description="who talks to whom: workers to each other")
    cut: Literal["auto"] | list[int] = Field(
        "auto", description='layers of each stage as a list, or "auto": balanced by measured cost'
    )

    @property
    def middle_stages(self) -> int:
        """Stages that are not the initiator's."""
        return max(0, self.stages - 2)

    @property
    def worker_count(self) -> int:
        """Hosts of the middle stages."""
        return self.workers or self.middle_stages


class OptimizerSection(_Section):
    """How weights are updated."""

    kind: Literal["adamw", "sgd"] = Field("adamw", description="torch's AdamW or SGD")
    variant: Literal["fused", "loop"] = Field("fused", description="torch's kernels; part of the arithmetic class")
    learning_rate: float = Field(1.5e-3, gt=0.0, description="rate at the end of the warm-up")
    warmup_steps: int = Field(10, ge=0, description="steps in which the learning rate grows to that")
    schedule: Literal["constant", "linear", "cosine"] = Field(
        "linear", description="how the learning rate goes on after the warm-up"
    )
    clip_norm: float = Field(1.0, ge=0.0, description="largest global norm of the gradients; 0 switches clipping off")
    weight_decay: float = Field(0.01, ge=0.0, description="weight decay, on every parameter")
    beta1: float = Field(0.9, ge=0.0, lt=1.0, description="adamw: decay of the first moment")
    beta2: float = Field(0.999, ge=0.0, lt=1.0, description="adamw: decay of the second moment")
    eps: float = Field(1e-8, gt=0.0, description="adamw: added to the denominator")
    momentum: float = Field(0.0, ge=0.0, lt=1.0, description="sgd: momentum")


class EvaluationSection(_Section):
    """When the model is tried on text that it does not train on."""

    every_steps: int = Field(20, ge=0, description="steps between evaluations; 0: only at the end")
    patience: int = Field(0, ge=0, description="stop after so many evaluations without a better one; 0: never")
    export: Literal["last", "best"] = Field(
        "last", description="weights that end up in model/: the last, or those of the best evaluation"
    )


class VerifySection(_Section):
    """What is checked."""

    policy: Literal["none"] = Field("none", description="none: nothing is checked yet")


class RespondSection(_Section):
    """What follows a verdict."""

    policy: Literal["none"] = Field("none", description="none: there are no verdicts yet")


class TransportSection(_Section):
    """How frames travel."""

    kind: Literal["memory"] = Field("memory", description="memory: all hosts in this process")
    compression: Literal["none"] = Field("none", description="none: tensors travel bit for bit")


class CheckpointSection(_Section):
    """When the state is saved."""

    every_steps: int = Field(20, ge=0, description="steps between checkpoints; 0: only when stopped by a signal")
    keep: int = Field(2, ge=1, description="newest checkpoints that are kept; the best one is kept besides")


_DECIDE_NOTHING = {"run": {"name", "tensorboard"}}
"""Keys that change no number of a run: they are no part of its root and may differ when it is resumed."""


class Config(_Section):
    """Everything that decides a run, and how it is called and shown."""

    run: RunSection = Field(default_factory=RunSection)
    model: ModelSection = Field(default_factory=ModelSection)
    data: DataSection = Field(default_factory=DataSection)
    pipeline: PipelineSection = Field(default_factory=PipelineSection)
    optimizer: OptimizerSection = Field(default_factory=OptimizerSection)
    evaluation: EvaluationSection = Field(default_factory=EvaluationSection)
    verify: VerifySection = Field(default_factory=VerifySection)
    respond: RespondSection = Field(default_factory=RespondSection)
    transport: TransportSection = Field(default_factory=TransportSection)
    checkpoint: CheckpointSection = Field(default_factory=CheckpointSection)

    @model_validator(mode="after")
    def _fields_fit_together(self) -> Self:
        _check_batch(self.pipeline)
        _check_workers(self.pipeline)
        _check_speeds(self.pipeline)
        _check_tiny(self.model)
        _check_types(self.model)
        _check_adapters(self.model)
        _check_export(self.evaluation)
        check_prompt(self.data)
        return self

    @classmethod
    def load(cls, path: Path | None = None, overrides: Sequence[str] = ()) -> Config:
        """The configuration in a TOML file (or the defaults), with `section.key=value` overrides on top.

        Raises:
            ConfigError: SW-C101, an unknown key; SW-C102, a value that does not fit; SW-C103, no readable TOML file;
                SW-C104, an override that is not `section.key=value`; SW-C105, values that do not fit together.
        """
        values = _read_toml(path) if path else {}
        for override in overrides:
            _override(values, override)
        return cls.parse(values, str(path) if path else "the command line")

    @classmethod
    def parse(cls, values: Mapping[str, Any], where: str) -> Config:
        """The configuration in nested plain data; `where` names its origin in errors. Raises as `load` does."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise _explain(error, where) from None

    def to_plain(self) -> dict[str, Any]:
        """Nested plain data without the keys that are left out."""
        return self.model_dump(exclude_none=True)

    def to_toml(self) -> str:
        """The same as a TOML text that `load` reads back."""
        return tomli_w.dumps(self.to_plain())

    def deciding(self) -> dict[str, Any]:
        """`to_plain` without the keys that decide nothing."""
        return {
            section: {key: value for key, value in keys.items() if key not in _DECIDE_NOTHING.get(section, ())}
            for section, keys in self.to_plain().items()
        }

    def root(self) -> str:
        """Hash over everything that decides the run."""
        return config_root(self.deciding())

    @property
    def micro_batch_size(self) -> int:
        """Sequences in a micro-batch."""
        pipeline = self.pipeline
        return pipeline.batch_size // pipeline.micro_batches if pipeline.batch_size else pipeline.micro_batch_size

    @property
    def workers(self) -> int:
        """Hosts of the middle stages."""
        return self.pipeline.worker_count

    @property
    def step_tokens(self) -> int:
        """Tokens of one step."""
        return self.pipeline.micro_batches * self.micro_batch_size * self.data.block_tokens


def commented_toml() -> str:
    """The default configuration with a comment for each key."""
    lines = ["# shieldwall configuration: every key with its default. Unknown keys are refused.", ""]
    for section, field in Config.model_fields.items():
        kind = field.annotation
        lines += [f"[{section}]  # {(kind.__doc__ or '').strip()}" if kind else f"[{section}]"]
        lines += _commented_keys(kind) if isinstance(kind, type) and issubclass(kind, BaseModel) else []
        lines.append("")
    return "\n".join(lines)


def _commented_keys(section: type[BaseModel]) -> list[str]:
    rows = []
    for key, field in section.model_fields.items():
        if field.default is None:
            rows.append((f"# {key} =", field.description))
        else:
            rows.append((tomli_w.dumps({key: field.default}).strip(), field.description))
    width = max(len(text) for text, _ in rows)
    return [f"{text:<{width}}  # {description}" for text, description in rows]


def _check_batch(pipeline: PipelineSection) -> None:
    if pipeline.batch_size and pipeline.batch_size % pipeline.micro_batches:
        raise ConfigError(
            "SW-C105",
            "the batch does not divide into micro-batches",
            where="pipeline.batch_size",
            expected=f"a multiple of pipeline.micro_batches = {pipeline.micro_batches}",
            got=str(pipeline.batch_size),
            remedy=f"set pipeline.batch_size to {_next_multiple(pipeline.batch_size, pipeline.micro_batches)}",
        )


def _check_workers(pipeline: PipelineSection) -> None:
    middle = pipeline.middle_stages
    if pipeline.workers is not None and pipeline.workers > middle:
        raise ConfigError(
            "SW-C105",
            "there are more workers than middle stages",
            where="pipeline.workers",
            expected=f"at most {middle}: {pipeline.stages} stages less the initiator's two",
            got=str(pipeline.workers),
            remedy=f"set pipeline.workers to {middle} or fewer, or leave it out",
        )


def _check_speeds(pipeline: PipelineSection) -> None:
    hosts = 1 + pipeline.worker_count
    if pipeline.speeds and (len(pipeline.speeds) != hosts or min(pipeline.speeds) <= 0):
        raise ConfigError(
            "SW-C105",
            "the speeds do not fit the hosts",
            where="pipeline.speeds",
            expected=f"{hosts} numbers above 0: the initiator's and one for each worker",
            got=str(pipeline.speeds),
            remedy="leave it out where all machines are alike",
        )


def _check_tiny(model: ModelSection) -> None:
    if model.name.startswith("tiny:") and (model.width % model.heads or (model.width // model.heads) % 2):
        raise ConfigError(
            "SW-C105",
            "the heads do not fit the width",
            where="model.heads",
            expected=f"a divisor of model.width = {model.width} that leaves an even width for each head",
            got=str(model.heads),
            remedy="try model.heads = 4 with model.width = 128",
        )


def _check_types(model: ModelSection) -> None:
    if model.autocast and model.dtype != "float32":
        raise ConfigError(
            "SW-C105",
            "autocast is for weights in float32",
            where="model.autocast",
            expected='model.dtype = "float32" beside it',
            got=model.dtype,
            remedy="set model.autocast to false: weights in bfloat16 are computed with in bfloat16",
        )


def _check_adapters(model: ModelSection) -> None:
    """Refuse settings of adapters where none are trained; given ones are compared when they are read."""
    usual = ModelSection()
    keys = ("lora_rank", "lora_alpha", "lora_dropout", "lora_targets")
    idle = [key for key in keys if getattr(model, key) != getattr(usual, key)]
    if idle and not model.lora_rank and not model.adapter:
        raise ConfigError(
            "SW-C105",
            "a setting of adapters has no effect",
            where=f"model.{idle[0]}",
            expected="model.lora_rank beside it, above 0",
            got=str(getattr(model, idle[0])),
            remedy="set model.lora_rank, for example to 8, or leave the setting out to train all weights",
        )
    if "all-linear" in model.lora_targets and len(model.lora_targets) > 1:
        raise ConfigError(
            "SW-C105",
            "all linear modules and some of them cannot both be meant",
            where="model.lora_targets",
            expected='["all-linear"] alone, or names of modules',
            got=str(model.lora_targets),
        )


def _check_export(evaluation: EvaluationSection) -> None:
    if not evaluation.every_steps and (evaluation.export == "best" or evaluation.patience):
        raise ConfigError(
            "SW-C105",
            "without evaluations there is no best one",
            where="evaluation.every_steps",
            expected='at least 1 with evaluation.export = "best" or evaluation.patience',
            got="0",
            remedy="set evaluation.every_steps, for example to 20",
        )


def check_prompt(data: DataSection) -> None:
    """Refuse a prompt without a completion, and a completion without a prompt.

    Raises:
        ConfigError: SW-C105.
    """
    if bool(data.prompt) != bool(data.completion):
        given, missing = ("prompt", "completion") if data.prompt else ("completion", "prompt")
        raise ConfigError(
            "SW-C105",
            f"data.{given} is set and data.{missing} is not",
            where=f"data.{missing}",
            expected="both, or neither for plain text",
            got=f'data.{given} = "{getattr(data, given)}", data.{missing} = ""',
            remedy=f"set data.{missing} to a field's name or a template with fields in braces",
        )


def _next_multiple(value: int, of: int) -> int:
    return (value // of + 1) * of


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        got = error.strerror or str(error)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        got = str(error)
    raise ConfigError(
        "SW-C103",
        "the configuration cannot be read",
        where=str(path),
        expected="a readable TOML file",
        got=got,
        remedy="shieldwall config init > run.toml writes one to start from",
    )


def _override(values: dict[str, Any], text: str) -> None:
    name, equals, raw = text.partition("=")
    section, dot, key = name.strip().partition(".")
    if not equals or not dot or not section or not key:
        raise ConfigError(
            "SW-C104",
            "an override cannot be read",
            where=f"--set {text}",
            expected="section.key=value, such as run.steps=100",
            got=text,
        )
    values.setdefault(section, {})
    if isinstance(values[section], dict):
        values[section][key] = _read_value(raw.strip())


def _read_value(raw: str) -> Any:
    """A TOML value; what is none is a text."""
    try:
        return tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        return raw


def _explain(error: ValidationError, where: str) -> ConfigError:
    first = error.errors()[0]
    path = [str(part) for part in first["loc"][:2]]
    if first["type"] == "extra_forbidden":
        return _unknown_key(path, where)
    key = ".".join(path[:2])
    return ConfigError(
        "SW-C102",
        f"{key or 'the configuration'} has a value that does not fit",
        where=f"{key} in {where}",
        expected=_wanted(path, first["msg"], several=len(error.errors()) > 1),
        got=repr(first.get("input")),
        remedy="shieldwall config init prints every key with its default and meaning",
    )


def _wanted(path: list[str], message: str, *, several: bool) -> str:
    if len(path) >= 2 and path[0] in Config.model_fields:
        section = Config.model_fields[path[0]].annotation
        field = section.model_fields.get(path[1]) if isinstance(section, type) else None
        if field is not None:
            known = [repr(value) for value in get_args(field.annotation) if isinstance(value, str)]
            if known:
                return f"one of {', '.join(known)}: {field.description}"
            return str(field.description) if several else f"{message[:1].lower()}{message[1:]}: {field.description}"
    return message


def _unknown_key(path: list[str], where: str) -> ConfigError:
    section = path[0] if path[0] in Config.model_fields else ""
    known = (
        [name for name in _known_names() if name.startswith(f"{section}.")] if section else list(Config.model_fields)
    )
    name = ".".join(path)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return ConfigError(
        "SW-C101",
        f'there is no {"key" if section else "section"} "{name}"',
        where=where,
        expected=f"one of: {', '.join(known)}",
        got=name,
        remedy=f'did you mean "{near[0]}"?' if near else "shieldwall config init prints every key",
    )


def _known_names() -> list[str]:
    names = []
    for section, field in Config.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            names += [f"{section}.{key}" for key in kind.model_fields]
    return names
