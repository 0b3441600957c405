"""Sentence embeddings from a frozen encoder, and features of sentence pairs made from them.

A text's embedding is the mean of the encoder's last hidden states over the text's tokens, scaled to unit length, as
all-MiniLM-L6-v2 prescribes; the dot product of two embeddings is then their cosine similarity.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cift import models
from cift.errors import InputError
from cift.finetuning import forward, quiet

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MAX_LENGTH = 256  # tokens; all-MiniLM-L6-v2 was made for texts up to this length


def embed(texts: Sequence[str], model: str | tuple[PreTrainedModel, PreTrainedTokenizerBase] = "minilm") -> np.ndarray:
    """Embeddings of unit length, (texts, hidden size) float32; equal texts are run through the model once.

    model: "minilm", a folder or a hub id, as for `models.load`, which raises InputError when it cannot be had; or a
    classifier and its tokenizer, whose encoder is taken as it is now. Texts are cut after 256 tokens. Raises InputError
    for what has no plain encoder: nse, and PEFT's models.
    """
    import torch
    from tqdm import tqdm
    from transformers import PreTrainedModel

    classifier, tokenizer = _loaded(model) if isinstance(model, str) else model
    encoder: Any = classifier.base_model
    if not (isinstance(classifier, PreTrainedModel) and isinstance(encoder, PreTrainedModel)):
        raise InputError(
            f"embeddings: {type(classifier).__name__} has no encoder that gives each token a state; "
            "take another model, or what strategies.merge makes of lora and ia3"
        )
    codes, distinct = pd.factorize(np.array(list(texts), dtype=object))
    vectors = np.empty((len(distinct), encoder.config.hidden_size), dtype=np.float32)
    if not len(distinct):
        return vectors
    encoded = tokenizer(list(distinct), truncation=True, max_length=MAX_LENGTH)
    rows = [{name: torch.tensor(values[i]) for name, values in encoded.items()} for i in range(len(distinct))]
    with tqdm(total=len(rows), desc="embed", unit="text", disable=quiet()) as bar:
        for indices, output, mask in forward(encoder, rows):
            vectors[indices] = pool(output.last_hidden_state, mask).cpu().numpy()
            bar.update(len(indices))
    return vectors[codes]


def pool(states: Tensor, mask: Tensor) -> Tensor:
    """Embeddings, (texts, hidden), of the encoder's last states, (texts, tokens, hidden), where the mask is 1."""
    from torch.nn.functional import normalize

    return normalize((states.float() * mask[:, :, None]).sum(1), dim=1)  # the sum is the mean, but for its length


def embed_pairs(corpus: Dataset, model: str = "minilm") -> np.ndarray:
    """Features of the corpus's pairs, (items, 4 x hidden size) float32: u, v, |u - v| and u v, element by element.

    u is the premise's embedding, v the hypothesis's (Conneau et al., 2017, InferSent).
    """
    both = embed([*corpus["premise"], *corpus["hypothesis"]], model)
    u, v = both[: len(corpus)], both[len(corpus) :]
    return np.hstack([u, v, abs(u - v), u * v])


@lru_cache(maxsize=2)
def _loaded(name: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Kept, so that one more text does not wait for the weights to be read again."""
    return models.load(name)
