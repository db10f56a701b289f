"""What every process does first that an experiment starts for its work."""

from __future__ import annotations

import gc

import torch
import transformers


def set_up_worker() -> None:
    """One thread, rare collections, and nothing on the screen."""
    torch.set_num_threads(1)
    gc.freeze()  # the libraries' own objects are looked at no more: with rarer looks a fifth of the time
    gc.set_threshold(50_000)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
