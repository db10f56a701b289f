"""shieldwall: fine-tune language models across machines that nobody has to trust.

Everything that the commands do is here as functions and classes; importing this module imports nothing else until a
name is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from shieldwall.core.version import VERSION

if TYPE_CHECKING:
    from shieldwall.config.config import Config
    from shieldwall.core.errors import (
        CheckpointError,
        ConfigError,
        CorpusError,
        EnrolmentError,
        IdentityError,
        InputError,
        Interrupted,
        LedgerError,
        LedgerFileError,
        ModelError,
        NoMemoryError,
        NonFiniteError,
        PlanError,
        RunError,
        RunFolderError,
        ShieldwallError,
        StorageError,
        TicketError,
        TransportError,
        VerificationError,
    )
    from shieldwall.core.hooks import Hook
    from shieldwall.core.roots import weights_root
    from shieldwall.core.seeds import dropout_seed, epoch_seed, weights_seed
    from shieldwall.lab.experiment.run import run_experiment
    from shieldwall.run.demo import demo
    from shieldwall.run.evaluate import Evaluation, evaluate
    from shieldwall.run.planning import RunPlan, plan
    from shieldwall.run.report import Report, report
    from shieldwall.run.summary import Summary
    from shieldwall.run.train import TrainResult, train
    from shieldwall.verify.ledger.check import verify_ledger
    from shieldwall.verify.ledger.report import LedgerReport
    from shieldwall.verify.ledger.show import show_ledger

__version__ = VERSION

_HOME = {
    "CheckpointError": "core.errors",
    "Config": "config.config",
    "ConfigError": "core.errors",
    "CorpusError": "core.errors",
    "EnrolmentError": "core.errors",
    "Evaluation": "run.evaluate",
    "Hook": "core.hooks",
    "IdentityError": "core.errors",
    "InputError": "core.errors",
    "Interrupted": "core.errors",
    "LedgerError": "core.errors",
    "LedgerFileError": "core.errors",
    "LedgerReport": "verify.ledger.report",
    "ModelError": "core.errors",
    "NoMemoryError": "core.errors",
    "NonFiniteError": "core.errors",
    "PlanError": "core.errors",
    "Report": "run.report",
    "RunError": "core.errors",
    "RunFolderError": "core.errors",
    "RunPlan": "run.planning",
    "ShieldwallError": "core.errors",
    "StorageError": "core.errors",
    "Summary": "run.summary",
    "TicketError": "core.errors",
    "TrainResult": "run.train",
    "TransportError": "core.errors",
    "VerificationError": "core.errors",
    "demo": "run.demo",
    "dropout_seed": "core.seeds",
    "epoch_seed": "core.seeds",
    "evaluate": "run.evaluate",
    "plan": "run.planning",
    "report": "run.report",
    "run_experiment": "lab.experiment.run",
    "show_ledger": "verify.ledger.show",
    "train": "run.train",
    "verify_ledger": "verify.ledger.check",
    "weights_root": "core.roots",
    "weights_seed": "core.seeds",
}

__all__ = [
    "CheckpointError",
    "Config",
    "ConfigError",
    "CorpusError",
    "EnrolmentError",
    "Evaluation",
    "Hook",
    "IdentityError",
    "InputError",
    "Interrupted",
    "LedgerError",
    "LedgerFileError",
    "LedgerReport",
    "ModelError",
    "NoMemoryError",
    "NonFiniteError",
    "PlanError",
    "Report",
    "RunError",
    "RunFolderError",
    "RunPlan",
    "ShieldwallError",
    "StorageError",
    "Summary",
    "TicketError",
    "TrainResult",
    "TransportError",
    "VerificationError",
    "demo",
    "dropout_seed",
    "epoch_seed",
    "evaluate",
    "plan",
    "report",
    "run_experiment",
    "show_ledger",
    "train",
    "verify_ledger",
    "weights_root",
    "weights_seed",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'shieldwall' has no attribute {name!r}")
    return getattr(import_module(f"shieldwall.{_HOME[name]}"), name)
