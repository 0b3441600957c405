"""Small classifiers with random weights, of every kind of backbone that the strategies are tried on."""

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, BertConfig, BertModel

from cift import anatomy, mann, nse

LAYERS = 3
SIZES = {
    "hidden_size": 32,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "num_hidden_layers": LAYERS,
    "vocab_size": 99,
    "max_position_embeddings": 64,
    "num_labels": 3,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
OWN = {
    "bert": {},
    "roberta": {},
    "distilbert": {"n_layers": LAYERS, "dim": 32, "n_heads": 4, "hidden_dim": 64},
    "electra": {"embedding_size": 16},
    "deberta-v2": {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 8},
    "modernbert": {"cls_token_id": 1, "sep_token_id": 2},
    "albert": {"embedding_size": 16},
    "gpt2": {"n_embd": 32, "n_layer": LAYERS, "n_head": 4, "n_positions": 64},
    "llama": {"num_key_value_heads": 2},
}
KINDS = (*OWN, "mann")


def tiny(kind):
    """The same weights at each call, none of them so small that what they do is lost."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if kind == "mann":
            model = mann.build(BertModel(BertConfig(**SIZES)), ["e", "n", "c"], 4)
        elif kind == "nse":
            model = nse.NseForSequenceClassification(
                nse.NseConfig(vocab_size=99, embedding_size=16, hidden_size=16, num_labels=3)
            )
        else:
            model = AutoModelForSequenceClassification.from_config(AutoConfig.for_model(kind, **SIZES | OWN[kind]))
        for name, weights in model.named_parameters():
            if weights.dim() > 1 and not name.startswith(tuple(anatomy.head(model))):
                torch.nn.init.normal_(weights, std=0.2)
    return model.eval()


def logits(model, batch):
    with torch.no_grad():
        return model.eval()(**batch).logits


def train(model, batch, steps=3):
    """A few steps of all that is trainable; returns the logits after them."""
    torch.manual_seed(0)  # of dropout
    optimizer = torch.optim.AdamW([w for w in model.parameters() if w.requires_grad], lr=1e-2)
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(**batch).logits, torch.tensor([0, 2])).backward()
        optimizer.step()
    return logits(model, batch)
