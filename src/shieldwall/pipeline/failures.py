"""How a step ends that cannot be committed, in words."""

from __future__ import annotations

from collections.abc import Sequence

from shieldwall.core.errors import NonFiniteError, RunError
from shieldwall.core.messages import NonFinite


def not_finite(cause: NonFinite) -> NonFiniteError:
    """SW-N101, for a NaN or an infinity that honest work made."""
    return NonFiniteError(
        "SW-N101",
        f"stage {cause.slot.stage} made {cause.what} that is not finite",
        where=f"{cause.slot}, host {cause.host}",
        expected="finite numbers",
        got="NaN or infinity, first seen there",
        state="what was being computed changed no weight; the last checkpoint, if there is one, stands",
        remedy="start a new run with a lower optimizer.learning_rate or with optimizer.clip_norm, from the last"
        " checkpoint: --set model.name=runs/NAME/checkpoints/step-N, or model.adapter= under LoRA",
    )


def never_settles(step: int, attempts: int, micro_batches: Sequence[int] = ()) -> RunError:
    """SW-V203, for a step that was tried often enough."""
    which = f", micro-batches {', '.join(map(str, micro_batches))}" if micro_batches else ""
    return RunError(
        "SW-V203",
        f"step {step} does not settle",
        where=f"step {step}{which}",
        expected=f"every slot settled, or corrected, after at most {attempts} attempts",
        got=f"{attempts} attempts, each of which left something to run again",
        state="nothing of the step has changed a weight; the last checkpoint stands",
        remedy="see with shieldwall ledger show RUN --verdicts who is named in each attempt, ban that worker, and"
        " resume",
    )
