"""Freezing and cutting: what is frozen stays, and a cut model gives the whole model's logits."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from cift import models, strategies
from cift.errors import InputError

BACKBONES = {
    "bert": {"num_hidden_layers": 3},
    "roberta": {"num_hidden_layers": 3, "pad_token_id": 0},
    "distilbert": {"n_layers": 3, "dim": 32, "n_heads": 4, "hidden_dim": 64},
    "electra": {"num_hidden_layers": 3, "embedding_size": 32},
}
SIZES = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64, "vocab_size": 99}


@pytest.mark.parametrize("kind", BACKBONES)
def test_a_cut_model_gives_the_same_logits(kind):
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **(SIZES | BACKBONES[kind]))
    model = AutoModelForSequenceClassification.from_config(config).eval()
    ids = torch.randint(5, 99, (2, 7))
    mask = torch.tensor([[1] * 7, [1] * 4 + [0] * 3])
    with torch.no_grad():
        whole = model(input_ids=ids * mask, attention_mask=mask).logits
        prefix, suffix = strategies.cut(model, 1)
        states = prefix(input_ids=ids * mask, attention_mask=mask).last_hidden_state
        cut = suffix(inputs_embeds=states, attention_mask=mask).logits
        again = model(input_ids=ids * mask, attention_mask=mask).logits
    assert torch.allclose(whole, cut, atol=1e-6)
    assert torch.equal(whole, again)  # the model itself is still in one piece


def test_freeze_leaves_the_last_layers_and_the_head(tiny_model):
    model, _ = models.load(tiny_model)
    strategies.freeze(model, 1)
    trainable = {name.split(".layer.")[-1].split(".")[0] for name, p in model.named_parameters() if p.requires_grad}
    assert trainable == {"2", "bert", "classifier"}  # layer 2 of 0 to 2, bert.pooler, the head
    with pytest.raises(InputError, match="trainable_layers=4: the model has 3 layers; choose 0 to 3"):
        strategies.freeze(model, 4)
