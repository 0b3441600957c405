"""Bottleneck adapters: what is added, swapped, saved, and that the backbone stays as it was."""

import copy
import json

import pytest
import torch
from backbones import KINDS, logits, tiny, train

from cift import adapters, anatomy
from cift.errors import InputError


def test_the_formula():
    model = tiny("bert")
    matrix = model.bert.encoder.layer[0].output.dense
    x = torch.randn(2, 5, 64)
    plain = matrix(x)
    adapters.add(model, "one", "pfeiffer", size=4)
    torch.nn.init.normal_(matrix.adapter.up.weight)
    down, up = matrix.adapter.down, matrix.adapter.up
    assert down.weight.shape == (4, 32) and up.weight.shape == (32, 4)
    hidden = torch.nn.functional.gelu(plain @ down.weight.T + down.bias)
    assert torch.allclose(matrix(x), plain + hidden @ up.weight.T + up.bias, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_adapters_are_swapped_with_their_heads_and_norms(kind):
    model = tiny(kind)
    batch, before = anatomy.example(model), {n: w.clone() for n, w in model.state_dict().items()}
    start, found = logits(model, batch), {}
    for name, strategy, size, seed in (
        ("first", "houlsby", 4, 0),
        ("second", "pfeiffer", 8, 0),
        ("third", "houlsby", 4, 1),
    ):
        adapters.add(model, name, strategy, size, seed)
        assert torch.equal(logits(model, batch), start)  # with the head that the model came with
        found[name] = train(model, batch)
    assert not torch.equal(found["first"], found["third"])
    twin = copy.deepcopy(model)
    for name in ("second", "first", "third", "second"):
        adapters.activate(model, name)
        assert torch.equal(logits(model, batch), found[name])
        adapters.activate(twin, name)
        assert torch.equal(logits(twin, batch), found[name])
    learnt = adapters.learnt(model)
    unchanged = {n: w for n, w in model.state_dict().items() if n not in learnt}
    assert all(torch.equal(weights, before[name]) for name, weights in unchanged.items())
    assert {n.partition(".adapter.")[2] for n in learnt if ".adapter." in n} == {
        "down.weight", "down.bias", "up.weight", "up.bias"
    }  # fmt: skip


def test_an_adapter_is_saved_and_comes_back_under_another_name(tmp_path):
    model = tiny("bert")
    batch = anatomy.example(model)
    adapters.add(model, "snli", "houlsby", 4)
    wanted = train(model, batch)
    adapters.save(model, tmp_path / "snli")
    adapters.add(model, "other", "pfeiffer", 4)
    train(model, batch)
    adapters.save(model, tmp_path / "other")
    fresh = tiny("bert")
    adapters.load(fresh, tmp_path / "other", "b")
    adapters.load(fresh, tmp_path / "snli", "a")
    assert torch.equal(logits(fresh, batch), wanted)
    adapters.activate(fresh, "b")
    assert torch.equal(logits(fresh, batch), logits(model, batch))
    assert {path.name for path in (tmp_path / "snli").iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    config = json.loads((tmp_path / "snli" / "adapter_config.json").read_text())
    assert config["strategy"] == "houlsby" and config["options"] == {"size": 4}


def test_the_seed_draws_the_adapters():
    drawn = []
    for seed in (0, 0, 1):
        model = tiny("bert")
        torch.rand(1)  # the global generator has no part in it
        adapters.add(model, "one", size=4, seed=seed)
        drawn.append(model.bert.encoder.layer[0].output.dense.adapter.down.weight)
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


def test_what_cannot_be_is_said(tmp_path):
    model = tiny("bert")
    with pytest.raises(InputError, match="adapter 'one': the model has none; add or load it first"):
        adapters.activate(model, "one")
    adapters.add(model, "one", size=4)
    with pytest.raises(InputError, match="adapter 'one': the model has one of this name"):
        adapters.add(model, "one", size=4)
    with pytest.raises(InputError, match="adapter 'two': the model has one; add or load it first"):
        adapters.activate(model, "two")
    adapters.save(model, tmp_path / "one")
    with pytest.raises(InputError, match="layer.0.ffn.lin2.adapter.down.bias is missing there|is .* in the model"):
        adapters.load(tiny("distilbert"), tmp_path / "one", "one")
    other = tiny("bert")
    start = logits(other, batch := anatomy.example(other))
    adapters.add(other, "mine", size=4)
    torch.nn.init.normal_(other.bert.encoder.layer[0].output.dense.adapter.up.weight)
    mine = logits(other, batch)
    (tmp_path / "one" / "adapter_model.safetensors").write_bytes(b"cut off")
    with pytest.raises(InputError, match="one: has no readable adapter_model.safetensors"):
        adapters.load(other, tmp_path / "one", "one")
    assert torch.equal(logits(other, batch), start)  # neither of them is active
    adapters.activate(other, "mine")
    assert torch.equal(logits(other, batch), mine)
    with pytest.raises(InputError, match="adapter 'one': the model has mine; add or load it first"):
        adapters.activate(other, "one")
    (tmp_path / "lora").mkdir()
    (tmp_path / "lora" / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    with pytest.raises(InputError, match="lora: holds no bottleneck adapter; use strategies.load"):
        adapters.load(model, tmp_path / "lora", "three")
    with pytest.raises(InputError, match="has no readable adapter_config.json"):
        adapters.load(model, tmp_path, "three")
