"""Workers in other processes: states go to them and come from them in chunks, and lies about states are found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from torch import Tensor

from conftest import MakeModel
from harness import SMALL, assert_repaired, assert_silent, attack, clean_twin, culprits, small_folder
from oracle import assert_bit_equal, train_pipeline
from shieldwall.attacks import AttackSpec
from shieldwall.core.flat_state import flatten_frozen, flatten_state
from shieldwall.core.hooks import Hook
from shieldwall.core.ids import INITIATOR
from shieldwall.core.messages import Assign, ChunkSent, KeptListed, ListKept, Message, StageState
from shieldwall.core.tensor_roots import tensor_roots
from shieldwall.core.verdicts import CaseDirection
from shieldwall.models.skeleton import build_skeleton
from shieldwall.pipeline import host as host_module
from shieldwall.pipeline.transfer.kept import Kept
from shieldwall.pipeline.transfer.transfers import Transfers
from shieldwall.run import deployment
from shieldwall.run.states import Origin, stage_states
from shieldwall.schedule import even_cut, spans_of
