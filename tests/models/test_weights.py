"""Reading weights: lazily, by name, and never from a damaged or pickled file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from conftest import MakeModel
from shieldwall.core.errors import CheckpointError, ModelError
from shieldwall.core.roots import weights_root
from shieldwall.models.families import TinyShape
from shieldwall.models.families.gpt_neox import GPTNeoX
from shieldwall.models.settings import ModelSettings
from shieldwall.models.skeleton import build_skeleton
from shieldwall.models.source import find_folder, open_source
from shieldwall.models.tiny import write_tiny
from shieldwall.models.weights import WeightFiles

NAME = "transformer.h.0.ln_1.weight"


def rewrite(source: Path, target: Path, tensors: dict[str, torch.Tensor]) -> None:
    target.mkdir(exist_ok=True)
    (target / "config.json").write_text((source / "config.json").read_text())
    save_file(tensors, target / "model.safetensors")


def test_tensors_come_by_name_with_or_without_the_bodys_prefix(make_model: MakeModel, tmp_path: Path) -> None:
    folder = make_model("gpt2")
    stored = load_file(folder / "model.safetensors")
    bare = {name.removeprefix("transformer."): tensor for name, tensor in stored.items()}
    rewrite(folder, tmp_path / "bare", bare)
    for place in (folder, tmp_path / "bare"):
        read = WeightFiles(place, "transformer").read({NAME: (32,)}, torch.float32)
        assert list(read) == [NAME]
        assert torch.equal(read[NAME], stored[NAME])


def test_a_tensor_is_found_under_the_name_that_checkpoints_give_it(make_model: MakeModel, tmp_path: Path) -> None:
    """GPT-NeoX's head: `embed_out` on the hub and in what transformers saves, `lm_head` in the model."""
    folder = make_model("gpt_neox")
    stored = load_file(folder / "model.safetensors")
    head = stored["embed_out.weight"]
    others = {name: tensor for name, tensor in stored.items() if name != "embed_out.weight"}
    rewrite(folder, tmp_path / "ours", {**others, "lm_head.weight": head})
    for place in (folder, tmp_path / "ours"):
        files = WeightFiles(place, "gpt_neox", GPTNeoX.stored_names)
        read = files.read({"lm_head.weight": tuple(head.shape)}, torch.float32)
        assert torch.equal(read["lm_head.weight"], head)
    with pytest.raises(CheckpointError, match=r"SW-K104"):
        WeightFiles(folder, "gpt_neox").read({"lm_head.weight": tuple(head.shape)}, torch.float32)


def test_shards_are_found_by_the_index(make_model: MakeModel, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_pretrained(make_model("gpt2")).save_pretrained(tmp_path, max_shard_size="60KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    read = WeightFiles(tmp_path, "transformer").read({NAME: (32,)}, torch.float32)
    assert torch.equal(read[NAME], load_file(make_model("gpt2") / "model.safetensors")[NAME])
    next(tmp_path.glob("model-00002*")).unlink()
    with pytest.raises(CheckpointError, match=r"SW-K103: a shard of the checkpoint is missing"):
        WeightFiles(tmp_path, "transformer")


def test_the_single_file_goes_before_a_leftover_index(make_model: MakeModel, tmp_path: Path) -> None:
    """As in transformers: otherwise training would start from other weights than everybody loads."""
    from transformers import AutoModelForCausalLM

    old = AutoModelForCausalLM.from_pretrained(make_model("gpt2"))
    old.save_pretrained(tmp_path, max_shard_size="60KB")
    fresh = {name: tensor + 1 for name, tensor in load_file(make_model("gpt2") / "model.safetensors").items()}
    save_file(fresh, tmp_path / "model.safetensors", metadata={"format": "pt"})
    save_file({NAME: torch.zeros(32)}, tmp_path / "model_old.safetensors")
    read = WeightFiles(tmp_path, "transformer").read({NAME: (32,)}, torch.float32)
    assert torch.equal(read[NAME], AutoModelForCausalLM.from_pretrained(tmp_path).get_parameter(NAME))


@pytest.mark.parametrize("content", ['{"weight_map": []}', '{"a": 3}', '{"weight_map": {"a": 3}}', "[]"])
def test_an_index_of_another_form_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(content)
    with pytest.raises((CheckpointError, ModelError), match=r"SW-K102|SW-K104"):
        WeightFiles(tmp_path, "transformer").read({NAME: (32,)}, torch.float32)


@pytest.mark.parametrize(("key", "value"), [("n_layer", "six"), ("n_embd", 33)])
def test_sizes_that_make_no_model_are_refused(key: str, value: object, make_model: MakeModel, tmp_path: Path) -> None:
    config = json.loads((make_model("gpt2") / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, key: value}))
    with pytest.raises(ModelError, match="SW-M105"):
        build_skeleton(ModelSettings(config=open_source(tmp_path).config, attention="sdpa"))


def test_a_garbled_index_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"SW-K102"):
        WeightFiles(tmp_path, "transformer")


@pytest.mark.parametrize("keep", [0, 4, 1000])
def test_a_truncated_file_is_refused(make_model: MakeModel, tmp_path: Path, keep: int) -> None:
    whole = (make_model("gpt2") / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[:keep])
    with pytest.raises(CheckpointError, match=r"SW-K102: model.safetensors cannot be read"):
        WeightFiles(tmp_path, "transformer")


def test_a_missing_tensor_and_a_wrong_shape_are_refused(make_model: MakeModel) -> None:
    files = WeightFiles(make_model("gpt2"), "transformer")
    with pytest.raises(CheckpointError, match=r"SW-K104: the checkpoint lacks a tensor"):
        files.read({"transformer.h.99.ln_1.weight": (32,)}, torch.float32)
    with pytest.raises(CheckpointError, match=r"SW-K105"):
        files.read({NAME: (33,)}, torch.float32)


def test_pickled_weights_are_never_loaded(make_model: MakeModel, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((make_model("gpt2") / "config.json").read_text())
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(ModelError, match=r"SW-M104: the model folder holds no weights that can be read") as caught:
        WeightFiles(open_source(tmp_path).folder, "transformer")
    assert "pickled weights are never loaded" in str(caught.value)


def test_absent_models_and_configurations_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r'SW-M103: model "no/such-model" was not found'):
        find_folder("no/such-model")
    with pytest.raises(ModelError, match=r"SW-M105: the model's configuration cannot be read"):
        open_source(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", "architectures": ["BertModel"]}))
    with pytest.raises(ModelError, match=r'SW-M101: models of the family "bert"'):
        open_source(tmp_path)


def test_a_model_is_never_twice_in_memory(tmp_path: Path) -> None:
    """Handing out a 100 MB model stage by stage takes little more than the 100 MB."""
    shape = TinyShape(layers=8, width=512, heads=8, vocabulary=512, positions=64, end_token=0)
    write_tiny("gpt2", shape, 0, tmp_path)
    size = (tmp_path / "model.safetensors").stat().st_size
    assert size > 100e6
    script = f"""
import resource, torch
from pathlib import Path
from shieldwall.models.settings import ModelSettings
from shieldwall.models.skeleton import build_skeleton
from shieldwall.models.source import open_source
from shieldwall.models.span import spans_of
from shieldwall.models.stage import StageModel
from shieldwall.run.states import Origin, stage_states
source = open_source(Path({str(tmp_path)!r}))
settings = ModelSettings(config=source.config, attention="sdpa")
skeleton = build_skeleton(settings)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
stages = [
    StageModel(settings, holding.span, holding.state.parameters, device=torch.device("cpu"))
    for holding in stage_states(skeleton, spans_of([2, 2, 2, 2]), Origin(base=source.folder))
]
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""
    grown = int(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout)
    assert grown < 1.5 * size


def test_the_weights_root_is_what_the_contract_says(tmp_path: Path) -> None:
    """Golden value, computed by hand from the definition for two tensors in two files."""
    import hashlib
    import struct

    save_file({"b": torch.tensor([[1.0, 2.0]])}, tmp_path / "one.safetensors")
    save_file({"a": torch.tensor(3.0, dtype=torch.bfloat16)}, tmp_path / "two.safetensors")

    def text(value: str) -> bytes:
        return struct.pack(">I", len(value)) + value.encode()

    content = text("a") + text("bfloat16") + text("") + bytes.fromhex("4040")
    content += text("b") + text("float32") + text("1,2") + struct.pack("<2f", 1.0, 2.0)
    assert weights_root(tmp_path) == hashlib.sha256(content).hexdigest()
    with pytest.raises(CheckpointError, match=r"SW-K101: no weights found"):
        weights_root(tmp_path / "absent")
