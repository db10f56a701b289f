"""A host is lost while a step goes around a liar, or right after it: no step twice, no state in doubt, no blame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from commands import TINY

from shieldwall import Config, train
from shieldwall.core.lines import read_lines
from shieldwall.core.messages import Gone, Stop
from shieldwall.pipeline.coordinator import Coordinator
from shieldwall.verify.ledger import verify_ledger

LIAR = {"kind": "sign_flip", "stage": 1, "direction": "forward"}
STRUCK_STEP = 2


@pytest.mark.parametrize("topology", ["chain", "star"])
@pytest.mark.parametrize("moment", ["in the step", "after the commit"])
def test_a_step_around_a_liar_may_lose_a_host(
    moment: str, topology: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: list[str] = []

    async def lose(coordinator: Any) -> None:
        """As the transport tells it; the host ends, and nobody hears of it again."""
        if not lost and coordinator._tried[0] == STRUCK_STEP and coordinator._view.bypassed:
            lost.append("worker-4")
            await coordinator._desk._endpoint.send("worker-4", Stop())
            coordinator._desk._hear(Gone(host="worker-4", silent_s=1.0))

    sum_up = Coordinator._sum_up

    async def lose_and_sum_up(self: Any, step: int) -> Any:
        await lose(self)
        return await sum_up(self, step)

    if moment == "in the step":
        monkeypatch.setattr(Coordinator, "_sum_up", lose_and_sum_up)
    else:
        commit = Coordinator._commit

        async def commit_and_lose(self: Any, order: Any) -> Any:
            reports = await commit(self, order)
            if not lost and order.step == STRUCK_STEP:
                lost.append("worker-4")
                await self._desk._endpoint.send("worker-4", Stop())
                self._desk.gone["worker-4"] = 1.0
            return reports

        monkeypatch.setattr(Coordinator, "_commit", commit_and_lose)
    config = Config.load(None, [*TINY, 'respond.policy="skip"', "respond.ban=false", f"pipeline.topology={topology}"])
    config = Config.parse({**config.to_plain(), "attack": [LIAR]}, "the test")
    summary = train(config, folder=tmp_path / "run").summary
    assert lost == ["worker-4"]
    assert [line["step"] for line in read_lines(tmp_path / "run" / "metrics.jsonl").lines] == list(range(6))
    assert {verdict["culprit"] for verdict in summary.verdicts} <= {"worker-1"}
    assert [failure["worker"] for failure in summary.failures] == ["worker-4"]
    assert summary.steps_lost == 0
    assert verify_ledger(tmp_path / "run").steps == 6
