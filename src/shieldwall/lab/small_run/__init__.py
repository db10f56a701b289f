"""One small training in this process, checked or not, attacked or not: what experiments and tests repeat many times.

A `Case` says everything about it, tokens included, so that the same case can be run in several ways and compared.
"""

from shieldwall.lab.small_run.case import VOCABULARY, Case, CaseFeed, model_settings
from shieldwall.lab.small_run.record import MemoryRecord, Trained
from shieldwall.lab.small_run.train import train_pipeline

__all__ = ["VOCABULARY", "Case", "CaseFeed", "MemoryRecord", "Trained", "model_settings", "train_pipeline"]
