"""The whole configuration: made from a file and overrides, written back, and hashed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import tomli_w
from pydantic import Field, ValidationError, model_validator

from shieldwall.config.checks import check_evaluation, check_model, check_pipeline, check_prompt, check_response
from shieldwall.config.reading import apply_override, read_toml
from shieldwall.config.refusals import explain
from shieldwall.config.sections import (
    CheckpointSection,
    DataSection,
    EvaluationSection,
    ModelSection,
    OptimizerSection,
    PipelineSection,
    RespondSection,
    RunSection,
    Section,
    TransportSection,
    VerifySection,
)
from shieldwall.core.roots import config_root

_DECIDE_NOTHING = {"run": {"name", "tensorboard"}, "transport": {"kind"}}
"""Keys that change no number of a run: they are no part of its root and may differ when it is resumed."""

_REDRAW_STEPS = 100
"""Where workers are strangers on other machines. Each draw moves states, so it should not come with every minute."""


class Config(Section):
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
    attack: list[dict[str, Any]] = Field([], description="attacks of the run's own workers, for experiments")

    @model_validator(mode="after")
    def _fields_fit_together(self) -> Self:
        check_pipeline(self.pipeline)
        check_model(self.model)
        check_evaluation(self.evaluation)
        check_prompt(self.data)
        check_response(self.respond, self.verify)
        return self

    @classmethod
    def load(cls, path: Path | None = None, overrides: Sequence[str] = ()) -> Config:
        """The configuration in a TOML file (or the defaults), with `section.key=value` overrides on top.

        Raises:
            ConfigError: SW-C101, an unknown key; SW-C102, a value that does not fit; SW-C103, no readable TOML file;
                SW-C104, an override that is not `section.key=value`; SW-C105, values that do not fit together.
        """
        values = read_toml(path) if path else {}
        for override in overrides:
            apply_override(values, override)
        return cls._checked(values, str(path) if path else "the command line", overrides)

    @classmethod
    def parse(cls, values: Mapping[str, Any], where: str) -> Config:
        """The configuration in nested plain data; `where` names its origin in errors. Raises as `load` does."""
        return cls._checked(values, where)

    @classmethod
    def _checked(cls, values: Mapping[str, Any], where: str, overrides: Sequence[str] = ()) -> Config:
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise explain(error, cls, where, overrides) from None

    def to_plain(self) -> dict[str, Any]:
        """Nested plain data without the keys that are left out."""
        plain = self.model_dump(exclude_none=True)
        if not self.attack:
            del plain["attack"]
        return plain

    def to_toml(self) -> str:
        """The same as a TOML text that `load` reads back."""
        return tomli_w.dumps(self.to_plain())

    def deciding(self) -> dict[str, Any]:
        """`to_plain` without the keys that decide nothing."""
        return {
            section: {key: value for key, value in keys.items() if key not in _DECIDE_NOTHING.get(section, ())}
            if isinstance(keys, dict)
            else keys
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
    def bans(self) -> bool:
        """Whether culprits are expelled: as configured, else where attackers are named or nothing is known of any."""
        if self.respond.ban is not None:
            return self.respond.ban
        return not self.attack or any(table.get("stage") != "random" for table in self.attack)

    @property
    def checks(self) -> bool:
        """Whether middle stages have duplicates."""
        return self.verify.policy == "duplicate" and self.pipeline.middle_stages > 0

    @property
    def redraw_steps(self) -> int:
        """Steps between draws of who checks whom; 0 where it is never drawn again, or nobody checks."""
        if not self.checks:
            return 0
        wanted = self.verify.redraw_steps
        return (_REDRAW_STEPS if self.transport.kind == "grpc" else 0) if wanted is None else wanted

    @property
    def workers(self) -> int:
        """Hosts of the middle stages."""
        return self.pipeline.worker_count

    @property
    def step_tokens(self) -> int:
        """Tokens of one step."""
        return self.pipeline.micro_batches * self.micro_batch_size * self.data.block_tokens
