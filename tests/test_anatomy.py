"""Parts of models, found by structure: the same for ten kinds of backbone, and what PEFT's own tables say."""

import pytest
from backbones import KINDS, LAYERS, tiny
from peft.utils import (
    TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING,
    TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING,
)

from cift import anatomy
from cift.errors import InputError

HEADS = {
    "bert": {"classifier", "bert.pooler"},
    "distilbert": {"pre_classifier", "classifier"},
    "deberta-v2": {"pooler", "classifier"},
    "modernbert": {"head", "classifier"},
    "albert": {"classifier", "albert.pooler"},
    "gpt2": {"score"},
    "llama": {"score"},
}
OUTPUTS = {  # of attention and feed-forward, within a layer
    "distilbert": ("attention.out_lin", "ffn.lin2"),
    "modernbert": ("attn.Wo", "mlp.Wo"),
    "albert": ("albert_layers.0.attention.dense", "albert_layers.0.ffn_output"),
    "gpt2": ("attn.c_proj", "mlp.c_proj"),
    "llama": ("self_attn.o_proj", "mlp.down_proj"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_has_its_depth(kind):
    model = tiny(kind)
    depths, layers = anatomy.depths(model), 1 if kind == "albert" else LAYERS
    assert set(anatomy.head(model)) == HEADS.get(kind, {"classifier"})
    assert set(depths) == {name for name, _ in model.named_parameters()}
    assert set(depths.values()) == set(range(layers + 2))
    for name, depth in depths.items():
        number = next((int(part) for part in name.split(".") if part.isdigit() and kind != "albert"), None)
        if name.startswith(tuple(anatomy.head(model))):
            assert depth == layers + 1
        elif number is not None:
            assert depth == number + 1
        elif kind != "albert":  # embeddings at the bottom; a norm that ends the backbone goes with the last layer
            assert depth == (layers if name.rpartition(".")[0].endswith(("ln_f", "final_norm", "model.norm")) else 0)


@pytest.mark.parametrize("kind", KINDS)
def test_matrices_are_named_by_what_they_do(kind):
    model = tiny(kind)
    found = anatomy.matrices(model)
    attention, feedforward = OUTPUTS.get(kind, ("attention.output.dense", "output.dense"))
    count = 1 if kind == "albert" else LAYERS
    assert [name.endswith(f".{attention}") for name in found["attention output"]] == [True] * count
    assert [name.endswith(f".{feedforward}") for name in found["feedforward output"]] == [True] * count
    assert not set(found["attention output"]) & set(found["feedforward output"])
    assert set(sum(found.values(), [])) == set(found["all"])
    assert not set(found["queries"] + found["values"]) & set(found["attention output"])
    if kind in TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING:
        names = TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING[kind]
        assert {name.rpartition(".")[2] for name in found["queries"] + found["values"]} == set(names)
    if kind in TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING and kind != "llama":
        names = TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING[kind]
        assert all(name.endswith(tuple(names)) for name in found["keys"] + found["values"])


def test_norms_are_those_of_the_layers():
    norms = anatomy.norms(tiny("bert"))
    assert len(norms) == 2 * LAYERS and all(".layer." in name for name in norms)


def test_positions_begin_where_the_model_has_them_begin():
    assert anatomy.longest(tiny("bert")) == 64
    assert anatomy.longest(tiny("roberta")) == 63  # position 0 is the padding's
    assert anatomy.longest(tiny("nse")) is None


def test_what_has_no_layers_says_what_to_take():
    with pytest.raises(InputError, match="the nse model has no stack of layers; take full, features or bitfit"):
        anatomy.layers(tiny("nse"))
    with pytest.raises(InputError, match="the bert model does not tell its backbone from its head; take full"):
        anatomy.head(tiny("bert").base_model)
