"""Cutting: halves give the whole model's logits, and what is cached is as little as they need."""

import copy

import numpy as np
import pytest
import torch
from backbones import KINDS, logits, tiny

from cift import anatomy, features, finetuning, models, strategies
from cift.errors import InputError
from cift.losses import one_hot
from cift.recipe import Recipe

WHOLE = {("albert", 1), ("gpt2", 1), ("llama", 1)}  # shared layers; heads that look for the last token among the ids


@pytest.mark.parametrize("layers", [0, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_model_gives_the_same_logits(kind, layers):
    model = tiny(kind)
    batch = anatomy.example(model)
    whole = logits(model, batch)
    if (kind, layers) in WHOLE:
        with pytest.raises(InputError, match=f"the {kind} model cannot be cut below its last 1 layers; train it whole"):
            features.cut(model, layers)
        return
    prefix, suffix = features.cut(model, layers)
    states = prefix(**batch).last_hidden_state
    one = layers == 0 and kind != "mann"  # its memory reads every token
    assert states.shape == (2, 1 if one else 9, 32)
    others = {"token_type_ids": batch["token_type_ids"]} if kind == "mann" else {}
    mask = batch["attention_mask"][:, : states.shape[1]]
    found = suffix(inputs_embeds=states, attention_mask=mask, **others).logits
    assert torch.allclose(found, whole, atol=1e-5)
    assert torch.equal(logits(model, batch), whole)  # the model itself is still in one piece
    learning = [{id(weights) for weights in part.parameters() if weights.requires_grad} for part in (suffix, model)]
    assert learning[0] == learning[1] != set()


@pytest.mark.parametrize("layers", [0, 1])
def test_cached_rows_give_the_predictions_and_the_training_of_the_whole_model(tiny_model, pairs, layers, monkeypatch):
    monkeypatch.setattr(finetuning, "has_bf16", lambda: False)
    model, tokenizer = models.load(tiny_model)
    rows, targets = finetuning.encode(pairs, tokenizer), one_hot(pairs["label"], 3)
    recipe = Recipe(epochs=2, learning_rate=1e-2, batch_size=8, dropout=0.0, group_by_length=False)
    whole = copy.deepcopy(model)
    strategies.freeze(whole, layers)
    finetuning.train(whole, rows, targets, recipe, seed=0)
    wanted = finetuning.predict(whole, rows, pairs).filter(like="logit").to_numpy()

    prefix, suffix = features.cut(model, layers)
    cached = features.cache_states(prefix, rows, bf16=False)
    assert {len(row["inputs_embeds"]) for row in cached} == (
        {1} if layers == 0 else {len(row["input_ids"]) for row in rows}
    )
    assert {tuple(row) for row in cached[:1]} <= {
        ("inputs_embeds", "attention_mask"),
        ("inputs_embeds", "attention_mask", "token_type_ids"),
    }
    finetuning.train(suffix, cached, targets, recipe, seed=0)
    for found in (
        finetuning.predict(suffix, cached, pairs),
        finetuning.predict(model, rows, pairs),  # which shares what was learnt
    ):
        np.testing.assert_allclose(found.filter(like="logit").to_numpy(), wanted, atol=1e-4)


def test_a_head_is_not_taken_to_read_one_token_because_it_starts_so():
    model = tiny("mann")
    last = [part for part in model.classifier.modules() if getattr(part, "out_features", None) == 3][-1]
    torch.nn.init.zeros_(last.weight)  # the logits depend on no token yet; what is learnt from depends on all
    prefix, _ = features.cut(model)
    assert prefix(**anatomy.example(model)).last_hidden_state.shape[1] == 9
