"""The sections of a configuration: each key with its default, its range and its meaning."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """Frozen; an unknown key, a value of another type, NaN and infinity are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=())


Spec = Annotated[str, Field(min_length=1)]
"""A corpus, as `data.corpus` names it."""


class RunSection(Section):
    """The run as a whole."""

    seed: int = Field(0, ge=0, description="decides the first weights of tiny: models, the order of data, and dropout")
    steps: int = Field(60, ge=1, description="optimizer updates")
    epochs: float = Field(0.0, ge=0.0, description="above 0: instead of steps, so often through the training rows")
    name: str = Field("", pattern=r"^[^/]*$", description='folder under runs/; "" makes a unique one')
    threads: int = Field(2, ge=1, le=1024, description="threads inside one operation; part of the arithmetic class")
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description='"auto", "cpu", "cuda" or "cuda:N"')
    tensorboard: bool = Field(False, description='write events for TensorBoard to board/; needs the extra "board"')


class ModelSection(Section):
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


class DataSection(Section):
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


class PipelineSection(Section):
    """How the model is cut and in which order its parts work."""

    stages: int = Field(6, ge=1, le=1024, description="parts of the model; the first and the last are the initiator's")
    workers: int | None = Field(None, ge=1, description="hosts of the middle stages; left out: one for each stage")
    spares: int = Field(0, ge=0, le=1024, description="hosts that hold nothing until one is needed")
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
    topology: Literal["chain", "star"] = Field(
        "chain", description="who talks to whom. chain: workers to each other; star: workers to the initiator alone"
    )
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


class OptimizerSection(Section):
    """How weights are updated."""

    kind: Literal["adamw", "sgd"] = Field("adamw", description="torch's AdamW or SGD")
    variant: Literal["fused", "loop"] = Field("fused", description="torch's kernels; part of the arithmetic class")
    learning_rate: float = Field(1.5e-3, gt=0.0, description="rate at the end of the warm-up")
    warmup_steps: int = Field(10, ge=0, description="steps in which the learning rate grows to that")
    schedule: Literal["constant", "linear", "cosine"] = Field(
        "linear", description="how the learning rate goes on after the warm-up"
    )
    clip_norm: float = Field(1.0, ge=0.0, description="largest norm of the gradients; 0 switches clipping off")
    clip_by: Literal["model", "stage"] = Field(
        "model", description="whose norm: model: one of all gradients; stage: for each stage that of its own"
    )
    weight_decay: float = Field(0.01, ge=0.0, description="weight decay, on every parameter")
    beta1: float = Field(0.9, ge=0.0, lt=1.0, description="adamw: decay of the first moment")
    beta2: float = Field(0.999, ge=0.0, lt=1.0, description="adamw: decay of the second moment")
    eps: float = Field(1e-8, gt=0.0, description="adamw: added to the denominator")
    momentum: float = Field(0.0, ge=0.0, lt=1.0, description="sgd: momentum")


class EvaluationSection(Section):
    """When the model is tried on text that it does not train on."""

    every_steps: int = Field(20, ge=0, description="steps between evaluations; 0: only at the end")
    patience: int = Field(0, ge=0, description="stop after so many evaluations without a better one; 0: never")
    export: Literal["last", "best"] = Field(
        "last", description="weights that end up in model/: the last, or those of the best evaluation"
    )


class VerifySection(Section):
    """What is checked."""

    policy: Literal["duplicate", "none"] = Field(
        "duplicate", description="duplicate: every middle stage is repeated on another host; none: nothing is checked"
    )
    when: Literal["auto", "before_use", "before_commit"] = Field(
        "auto",
        description="when checks are settled; auto: before_commit, and before_use for careful_steps after an alert",
    )
    careful_steps: int = Field(5, ge=1, description="auto: steps that are settled before use after one with an alert")
    evidence: bool = Field(True, description="keep the tensors behind each verdict, sealed for reviewers")
    redraw_steps: int | None = Field(
        None,
        ge=0,
        description="steps between draws of who holds which stage, and so of who checks whom; 0: never; left out: 100"
        " where workers are on other machines, never in one process",
    )


class RespondSection(Section):
    """What follows a verdict."""

    policy: Literal["repair", "skip", "restart", "none"] = Field(
        "repair",
        description="repair: what is wrong is made right, nothing is lost; skip: the step again without the suspects'"
        " stages; restart: the whole step again; none: verdicts alone",
    )
    attempts: int = Field(8, ge=2, description="how often a step is tried before the run gives up")
    ban: bool | None = Field(
        None,
        description="expel a culprit after the step; left out: yes, but not where all attacks of this file are random",
    )


class TransportSection(Section):
    """How frames travel."""

    kind: Literal["memory", "grpc"] = Field(
        "memory", description="memory: all hosts in this process; grpc: workers on other machines, as --listen says"
    )
    compression: Literal["none", "bf16", "int8"] = Field(
        "none",
        description="of activations and gradients between stages; none: bit for bit; bf16: half the bytes of float32;"
        " int8: about a quarter, each 128 numbers with a scale; both decide bits, whatever kind is",
    )


class CheckpointSection(Section):
    """When the state is saved."""

    every_steps: int = Field(20, ge=0, description="steps between checkpoints; 0: only when stopped by a signal")
    keep: int = Field(2, ge=1, description="newest checkpoints that are kept; the best one is kept besides")
