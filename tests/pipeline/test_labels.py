"""Prompts, padding and packing: the stages' gradients are those of the whole model on the same labels.

Each case goes through hosted stages in a row (three of them, tied heads included) and through transformers' own model
with `labels=`, and every parameter's gradient is compared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from conftest import MakeModel
from shieldwall.config import Config
from shieldwall.data import IGNORED, Blocks, Example, Rows, fill_rows
from shieldwall.models.settings import ModelSettings
from shieldwall.models.skeleton import build_skeleton
from shieldwall.models.source import open_source
from shieldwall.models.span import spans_of
from shieldwall.models.stage import StageModel, stage_shapes
from shieldwall.models.weights import WeightFiles
from shieldwall.pipeline.hosted_stage import HostedStage, TiedGradients
from shieldwall.run.feed import BlockFeed

FAMILIES = ["gpt2", "llama", "opt"]
CPU = torch.device("cpu")
PADDING = 3

CLOSE = 1e-5
"""Largest difference in a gradient, relative to the largest entry of that parameter's gradient: float32 sums in another
order. What a token more or less in the loss does is a thousand times as much."""


def draw_examples(count: int, seed: int, longest: int = 20) -> list[Example]:
    """Examples of different lengths with prompts of different lengths."""
    generator = torch.Generator().manual_seed(seed)
    examples = []
    for _ in range(count):
        length = int(torch.randint(3, longest + 1, (1,), generator=generator))
        prompt = int(torch.randint(0, length - 1, (1,), generator=generator))
        examples.append(Example(tuple(torch.randint(97, (length,), generator=generator).tolist()), prompt))
    return examples


def make_feed(rows: Rows, micro_batches: int, size: int) -> BlockFeed:
    settings = {"micro_batches": micro_batches, "micro_batch_size": size}
    return BlockFeed(Blocks(rows, rows.first(1)), Config.parse({"pipeline": settings}, "test"))


def hosted_stages(folder: Path) -> list[HostedStage]:
    source = open_source(folder)
    settings = ModelSettings(config=source.config, attention="sdpa")
    skeleton = build_skeleton(settings)
    files = WeightFiles(folder, skeleton.base_model_prefix)
    stages = [
        HostedStage(
            StageModel(settings, span, files.read(stage_shapes(skeleton, span), torch.float32), device=CPU), 0, CPU
        )
        for span in spans_of([1, 2, 1])
    ]
    handles = stages[-1].model.tie_head(stages[0].model)
    if handles:
        stages[0].tied = stages[-1].tied = TiedGradients(handles, stages[0].model)
    for stage in stages:
        stage.model.set_training(True)
    return stages


def pipeline_step(folder: Path, feed: BlockFeed, micro_batches: int) -> tuple[dict[str, Tensor], float]:
    """Gradients by name and the loss of step 0."""
    stages, positions, losses = hosted_stages(folder), feed.positions(0), {}
    for index in range(micro_batches):
        batch = feed.training(0, index)
        value = batch.tokens_BT
        for stage in stages:
            value = stage.forward(0, index, value, positions.get(index), training=True)
        losses[index] = float(stages[-1].loss(index, value, batch, training=True))
    for index in range(micro_batches):
        gradient = None
        for stage in reversed(stages):
            gradient = stage.backward(index, gradient)
    found = {name: parameter.grad for stage in stages for name, parameter in stage.model.parameters.items()}
    return {name: gradient for name, gradient in found.items() if gradient is not None}, feed.training_loss(0, losses)


def load_whole(folder: Path) -> PreTrainedModel:
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        folder, attn_implementation="sdpa", dtype=torch.float32
    ).train()
    return model


def gradients_of(model: PreTrainedModel) -> dict[str, Tensor]:
    return {name: value.grad for name, value in model.named_parameters() if value.grad is not None}


def whole_step(folder: Path, feed: BlockFeed, micro_batches: int) -> tuple[dict[str, Tensor], float]:
    """The same by transformers alone: its own loss with labels, weighted by the number of targets."""
    model, batches = load_whole(folder), [feed.training(0, index) for index in range(micro_batches)]
    positions = feed.positions(0)
    counts = [int((batch.labels_BT[:, 1:] != IGNORED).sum()) for batch in batches]
    total = 0.0
    for index, (batch, count) in enumerate(zip(batches, counts, strict=True)):
        apart = {"position_ids": positions[index]} if index in positions else {}
        loss = model(input_ids=batch.tokens_BT, labels=batch.labels_BT, use_cache=False, **apart).loss
        (loss / (sum(counts) / count)).backward()
        total += loss.item() * count
    return gradients_of(model), total / sum(counts)


def one_by_one(folder: Path, examples: Sequence[Example]) -> tuple[dict[str, Tensor], float]:
    """Each example by itself, without padding: the sum of all targets' losses over their number."""
    model, targets, total = load_whole(folder), sum(example.targets for example in examples), 0.0
    for example in examples:
        tokens_BT = torch.tensor([example.ids])
        labels_BT = tokens_BT.clone()
        labels_BT[:, : example.first_target] = IGNORED
        loss = model(input_ids=tokens_BT, labels=labels_BT, use_cache=False).loss * (example.targets / targets)
        loss.backward()
        total += loss.item()
    return gradients_of(model), total


def assert_same_bits(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert [name for name in found if not torch.equal(found[name], expected[name])] == []


def largest_difference(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """Over all parameters, relative to the largest entry of each; key biases have a true gradient of 0."""
    assert found.keys() == expected.keys()
    scale = max(float(gradient.abs().max()) for gradient in expected.values())
    return max(
        float((found[name] - gradient).abs().max()) / max(float(gradient.abs().max()), 1e-3 * scale)
        for name, gradient in expected.items()
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_prompts_give_the_whole_models_gradients_bit_for_bit(family: str, make_model: MakeModel) -> None:
    """Prompt tokens and padding carry labels of -100, and micro-batches with unlike numbers of targets."""
    folder = make_model(family, 4)
    feed = make_feed(fill_rows(draw_examples(12, seed=1), 20, PADDING, packing=False), 4, 3)
    widths = {feed.training(0, index).tokens_BT.shape[1] for index in range(4)}
    assert len(widths) > 1
    (found, loss), (expected, reference) = pipeline_step(folder, feed, 4), whole_step(folder, feed, 4)
    assert_same_bits(found, expected)
    assert loss == pytest.approx(reference, rel=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_padded_batch_is_its_sequences_one_by_one(family: str, make_model: MakeModel) -> None:
    folder, examples = make_model(family, 4), draw_examples(8, seed=2)
    feed = make_feed(fill_rows(examples, 20, PADDING, packing=False), 2, 4)
    (found, loss), (expected, reference) = pipeline_step(folder, feed, 2), one_by_one(folder, examples)
    assert loss == pytest.approx(reference, rel=1e-6)
    assert largest_difference(found, expected) < CLOSE


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_has_no_say(family: str, make_model: MakeModel) -> None:
    """Other padding changes no bit of loss and gradients; the embedding of the padding token itself gets none."""
    folder, examples = make_model(family, 4), draw_examples(6, seed=3)
    results = [
        pipeline_step(folder, make_feed(fill_rows(examples, 20, padding, packing=False), 2, 3), 2)
        for padding in (PADDING, 96)
    ]
    assert_same_bits(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_packed_batch_is_its_examples_one_by_one(family: str, make_model: MakeModel) -> None:
    folder, examples = make_model(family, 4), draw_examples(14, seed=4, longest=12)
    rows = fill_rows(examples, 24, PADDING, packing=True)
    assert rows.examples is not None
    assert max(map(len, rows.examples)) > 1
    assert len(rows) < len(examples)
    feed = make_feed(rows, len(rows), 1)
    assert feed.positions(0)
    (found, loss), (expected, reference) = pipeline_step(folder, feed, len(rows)), one_by_one(folder, examples)
    assert loss == pytest.approx(reference, rel=1e-6)
    assert largest_difference(found, expected) < CLOSE


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_packed_rows_give_the_whole_models_gradients_bit_for_bit(family: str, make_model: MakeModel) -> None:
    """Transformers keeps the examples apart by the same positions. Its OPT does not, so that is no reference here."""
    folder = make_model(family, 4)
    rows = fill_rows(draw_examples(16, seed=6, longest=12), 24, PADDING, packing=True)
    feed = make_feed(rows, 2, 3)
    assert len(feed.positions(0)) == 2
    (found, loss), (expected, reference) = pipeline_step(folder, feed, 2), whole_step(folder, feed, 2)
    assert_same_bits(found, expected)
    assert loss == pytest.approx(reference, rel=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_rows_of_several_in_one_batch(family: str, make_model: MakeModel) -> None:
    """Rows with one example beside rows with several, and padding, in the same batch."""
    folder, examples = make_model(family, 4), draw_examples(9, seed=5)
    rows = fill_rows(examples, 20, PADDING, packing=True)
    feed = make_feed(rows, 1, len(rows))
    (found, loss), (expected, reference) = pipeline_step(folder, feed, 1), one_by_one(folder, examples)
    assert loss == pytest.approx(reference, rel=1e-6)
    assert largest_difference(found, expected) < CLOSE


def test_the_comparison_notices_a_label_more(make_model: MakeModel) -> None:
    """The tolerance is no cover: one prompt token that is trained on shows."""
    folder, examples = make_model("gpt2", 4), draw_examples(8, seed=2)
    longer = list(examples)
    index = next(index for index, example in enumerate(examples) if example.first_target > 1)
    longer[index] = Example(examples[index].ids, examples[index].first_target - 1)
    assert sum(example.targets for example in longer) == sum(example.targets for example in examples) + 1
    found, _ = pipeline_step(folder, make_feed(fill_rows(longer, 20, PADDING, packing=False), 2, 4), 2)
    assert largest_difference(found, one_by_one(folder, examples)[0]) > 100 * CLOSE


def test_packing_without_positions_would_be_noticed(make_model: MakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, examples = make_model("llama", 4), draw_examples(14, seed=4, longest=12)
    rows = fill_rows(examples, 24, PADDING, packing=True)
    feed = make_feed(rows, 1, len(rows))
    assert largest_difference(pipeline_step(folder, feed, 1)[0], one_by_one(folder, examples)[0]) < CLOSE
    monkeypatch.setattr(feed, "positions", lambda _: {})
    found, _ = pipeline_step(folder, feed, 1)
    assert largest_difference(found, one_by_one(folder, examples)[0]) > 100 * CLOSE


def test_each_target_of_a_step_weighs_the_same() -> None:
    """The divisors are all targets over those of the micro-batch; plain blocks keep the number of micro-batches."""
    examples = [Example((1, 2, 3, 4, 5, 6), 5), Example((1, 2, 3, 4, 5, 6), 1)]
    feed = make_feed(fill_rows(examples, 6, PADDING, packing=False), 2, 1)
    divisors = sorted(feed.training(0, index).loss_divisor for index in range(2))
    assert divisors == [6 / 5, 6.0]
    assert math.fsum(1 / divisor for divisor in divisors) == pytest.approx(1.0)
    plain = make_feed(Rows(torch.arange(56).view(8, 7)), 3, 2)
    assert {plain.training(1, index).loss_divisor for index in range(3)} == {3.0}
    assert feed.tokens(0) == 12
    assert plain.tokens(0) == 42
