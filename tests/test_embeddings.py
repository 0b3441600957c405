import subprocess
import sys

import numpy as np
import pytest

from cift import finetuning
from cift.embeddings import MAX_LENGTH, embed, embed_pairs
from cift.errors import InputError
from cift.models import embedded_minilm, load

TEXTS = [
    "A man is eating food.",
    "Someone has a meal.",
    "The stock market fell on Tuesday, after a week of gains that nobody had expected from it.",
    "A man is eating food.",
    "Yes",
]

needs_minilm = pytest.mark.skipif(embedded_minilm() is None, reason="the embedded weights are not installed")


@needs_minilm
def test_embeddings_are_those_of_sentence_transformers(monkeypatch):
    pytest.importorskip("sentence_transformers", reason="sentence-transformers, the reference, is not installed")
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    transformer = Transformer(str(embedded_minilm()), max_seq_length=MAX_LENGTH)
    reference = SentenceTransformer(modules=[transformer, Pooling(384), Normalize()], device="cpu")
    texts = [*TEXTS, "word " * 400]
    wanted = reference.encode(texts)
    assert (embed(texts) * wanted).sum(1).min() > 0.999  # in bfloat16, where this machine has it
    monkeypatch.setattr(finetuning, "has_bf16", lambda: False)
    np.testing.assert_allclose(embed(texts), wanted, atol=1e-5)


@needs_minilm
def test_likeness_of_meaning_is_likeness_of_embeddings():
    vectors = embed(TEXTS)
    assert vectors.shape == (5, 384) and vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    alike = vectors @ vectors.T
    assert alike[0, 1] > alike[0, 2] + 0.2


def test_equal_texts_get_equal_embeddings_in_their_places(tiny_model):
    vectors = embed(TEXTS, tiny_model)
    assert np.array_equal(vectors[0], vectors[3]) and not np.allclose(vectors[0], vectors[1])
    np.testing.assert_allclose(vectors, np.vstack([embed([text], tiny_model) for text in TEXTS]), atol=1e-2)
    assert np.array_equal(vectors, embed(TEXTS, tiny_model))
    assert embed([], tiny_model).shape == (0, 32)


def test_a_loaded_model_is_taken_as_it_is_now(tiny_model):
    import torch

    model, tokenizer = load(tiny_model)
    assert np.array_equal(embed(TEXTS, (model, tokenizer)), embed(TEXTS, tiny_model))
    with torch.no_grad():
        model.base_model.embeddings.word_embeddings.weight.mul_(2)
    assert not np.allclose(embed(TEXTS, (model, tokenizer)), embed(TEXTS, tiny_model))


def test_what_has_no_plain_encoder_is_an_input_error(tiny_model):
    from cift import nse, strategies

    model, tokenizer = load(tiny_model)
    lora = strategies.prepare(model, "lora")
    with pytest.raises(InputError, match="PeftModelForSequenceClassification has no encoder .* strategies.merge"):
        embed(TEXTS, (lora, tokenizer))
    assert np.array_equal(embed(TEXTS, (strategies.merge(lora), tokenizer)), embed(TEXTS, tiny_model))
    small = nse.NseForSequenceClassification(nse.NseConfig(vocab_size=50, embedding_size=8, hidden_size=8))
    with pytest.raises(InputError, match="embeddings: NseForSequenceClassification has no encoder"):
        embed(TEXTS, (small, tokenizer))


def test_pairs_have_both_embeddings_their_difference_and_product(pairs, tiny_model):
    u, v, difference, product = np.split(embed_pairs(pairs, tiny_model), 4, axis=1)
    both = embed([*pairs["premise"], *pairs["hypothesis"]], tiny_model)
    np.testing.assert_array_equal(np.vstack([u, v]), both)
    np.testing.assert_array_equal(difference, abs(u - v))
    np.testing.assert_array_equal(product, u * v)


def test_a_model_that_cannot_be_had_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="cannot be loaded"):
        embed(["text"], str(tmp_path))


def test_importing_the_module_is_light():
    code = "import sys, cift.embeddings, cift.duplicates, cift.suspects; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "transformers", "datasets", "sklearn", "datasketch", "cleanlab"} & set(loaded)
