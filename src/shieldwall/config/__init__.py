"""The one configuration of a run: typed, frozen, checked once, free of secrets.

A configuration is a TOML file; what it leaves out takes the defaults in `sections.py`, which train the embedded
example. Each key's description there is also what `shieldwall config init` prints. `config.py` is the whole;
`reading.py` takes in files and overrides, `refusals.py` says what is wrong with a value, `checks.py` what does not
fit together, and `comments.py` writes the default out with comments.
"""

from __future__ import annotations

from shieldwall.config.checks import check_prompt
from shieldwall.config.comments import commented_toml
from shieldwall.config.config import Config
from shieldwall.config.sections import (
    CheckpointSection,
    DataSection,
    EvaluationSection,
    ModelSection,
    OptimizerSection,
    PipelineSection,
    RespondSection,
    RunSection,
    TransportSection,
    VerifySection,
)

__all__ = [
    "CheckpointSection",
    "Config",
    "DataSection",
    "EvaluationSection",
    "ModelSection",
    "OptimizerSection",
    "PipelineSection",
    "RespondSection",
    "RunSection",
    "TransportSection",
    "VerifySection",
    "check_prompt",
    "commented_toml",
]
