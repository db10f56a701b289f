"""Values that are each allowed and do not fit together: refused as SW-C105."""

from __future__ import annotations

from shieldwall.config.sections import (
    DataSection,
    EvaluationSection,
    ModelSection,
    PipelineSection,
    RespondSection,
    VerifySection,
)
from shieldwall.core.errors import ConfigError


def check_pipeline(pipeline: PipelineSection) -> None:
    """Refuse a batch that does not divide, more workers than stages for them, and speeds of other hosts.

    Raises:
        ConfigError: SW-C105.
    """
    _check_batch(pipeline)
    _check_workers(pipeline)
    _check_speeds(pipeline)


def check_model(model: ModelSection) -> None:
    """Refuse a shape, types of numbers and settings of adapters that do not go together.

    Raises:
        ConfigError: SW-C105.
    """
    _check_tiny(model)
    _check_types(model)
    _check_adapters(model)


def check_evaluation(evaluation: EvaluationSection) -> None:
    """Refuse to wait for the best evaluation where there is none.

    Raises:
        ConfigError: SW-C105.
    """
    if not evaluation.every_steps and (evaluation.export == "best" or evaluation.patience):
        raise ConfigError(
            "SW-C105",
            "without evaluations there is no best one",
            where="evaluation.every_steps",
            expected='at least 1 with evaluation.export = "best" or evaluation.patience',
            got="0",
            remedy="set evaluation.every_steps, for example to 20",
        )


def check_response(respond: RespondSection, verify: VerifySection) -> None:
    """Refuse an answer to alerts in a run that raises none.

    Raises:
        ConfigError: SW-C105.
    """
    if respond.policy in ("skip", "restart") and verify.policy == "none":
        raise ConfigError(
            "SW-C105",
            "a response has no effect where nothing is checked",
            where="respond.policy",
            expected='verify.policy = "duplicate" beside it',
            got=f'respond.policy = "{respond.policy}", verify.policy = "none"',
            remedy='set verify.policy to "duplicate", or leave respond.policy out',
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


def _next_multiple(value: int, of: int) -> int:
    return (value // of + 1) * of
