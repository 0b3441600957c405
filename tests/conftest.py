"""Shared fixtures: every test has its own empty cache and no mirror, unless it asks for the mirror."""

import os
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # no test needs the hub, and without this an unknown model's error takes minutes
MIRROR = os.environ.get("CIFT_MIRROR")


@pytest.fixture(autouse=True)
def isolated_data(tmp_path_factory, monkeypatch):
    """An empty cache of the test's own; CIFT_MIRROR unset, so that a machine's setting changes no result."""
    monkeypatch.setenv("CIFT_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.delenv("CIFT_MIRROR", raising=False)


@pytest.fixture
def mirror(isolated_data, monkeypatch):
    """The folder of mirrored public data that CIFT_MIRROR named when the tests were started."""
    if not MIRROR:
        pytest.skip("CIFT_MIRROR is not set: the public data is checked only where a mirror of it is at hand")
    if not Path(MIRROR).is_dir():
        pytest.skip(f"CIFT_MIRROR={MIRROR} is not a folder: the public data cannot be checked")
    monkeypatch.setenv("CIFT_MIRROR", MIRROR)
    return Path(MIRROR)


@pytest.fixture
def file(tmp_path):
    """A writer of files: (content, name) -> path."""

    def write(content, name="crowd.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """Folder of a small BERT with random weights and the embedded model's tokenizer: the real code, in no time."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    from cift.models import resolve

    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    config = BertConfig(hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=64, num_labels=3)
    BertForSequenceClassification(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(resolve("minilm")).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def pairs():
    """A corpus of 48 pairs whose label can be read off the hypothesis, so that a small model can learn it."""
    from small_study import learnable_pairs

    return learnable_pairs()
