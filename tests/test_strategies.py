"""Strategies: exactly what should learn learns, starts where the backbone is, is saved, and comes back."""

import copy
import re

import numpy as np
import pytest
import torch
from backbones import KINDS, LAYERS, logits, tiny, train
from peft import AutoPeftModelForSequenceClassification, PeftModel
from transformers import AutoModelForSequenceClassification

from cift import adapters, anatomy, finetuning, models, peft_models, strategies
from cift.errors import InputError
from cift.losses import one_hot
from cift.recipe import Recipe
from cift.strategies import STRATEGIES

SMALL = {"houlsby": {"size": 4}, "pfeiffer": {"size": 4}, "lora": {"rank": 2}, "frozen": {"trainable_layers": 1}}
SMALL |= {name: {"tokens": 4} for name in peft_models.PROMPTS} | {"p-tuning": {"tokens": 4, "size": 8}}
LEARNING = {  # names of what learns on BERT, the head apart
    "full": r".*",
    "features": r"(?!)",
    "frozen": r".*layer\.2\..*",
    "gradual": r".*",
    "discriminative": r".*",
    "houlsby": r".*(\.adapter\..*|layer\.\d\..*LayerNorm.*)",
    "pfeiffer": r".*layer\.\d\.output\.dense\.adapter\..*",
    "lora": r".*attention\.self\.(query|value)\.lora_.*",
    "prefix": r"prompt_encoder\..*",
    "prompt": r"prompt_encoder\..*",
    "p-tuning": r"prompt_encoder\..*",
    "bitfit": r".*bias",
    "ia3": r".*(attention\.self\.(key|value)|layer\.\d\.output\.dense)\.ia3_.*",
}
NO_BIASES = "no biases apart from its head; take lora, ia3 or features"
NO_CACHE = "takes no keys and values from outside; take prompt or lora"
READS_PADDING = "would read padding; take prefix, lora or pfeiffer"
REFUSED = {
    ("modernbert", "bitfit"): NO_BIASES,
    ("llama", "bitfit"): NO_BIASES,
    **{(kind, "prefix"): NO_CACHE for kind in ("distilbert", "deberta-v2", "modernbert", "albert")},
    **{(kind, strategy): READS_PADDING for kind in ("gpt2", "llama") for strategy in ("prompt", "p-tuning")},
    **{("nse", name): "no stack of layers; take full" for name in set(STRATEGIES) - {"full", "features", "bitfit"}},
}


@pytest.mark.parametrize(
    "kind, strategy",
    [
        (kind, name)
        for kind in (*KINDS, "nse")
        for name in STRATEGIES
        if kind in ("bert", "nse") or name not in ("full", "gradual", "discriminative")  # the same for all with layers
    ],
)
def test_a_strategy_trains_what_it_says_and_comes_back(kind, strategy, tmp_path):
    model = tiny(kind)
    batch, options = anatomy.example(model), SMALL.get(strategy)
    start, base = logits(model, batch), {name: weights.clone() for name, weights in model.named_parameters()}
    if (kind, strategy) in REFUSED:
        with pytest.raises(InputError, match=f"strategy {strategy}: .*{kind} model.* {REFUSED[kind, strategy]}"):
            strategies.prepare(model, strategy, options)
        return
    prepared = strategies.prepare(model, strategy, options)
    if strategy not in peft_models.PROMPTS:
        assert torch.equal(logits(prepared, batch), start)  # training starts at the base model
    before = {name: weights.detach().clone() for name, weights in prepared.named_parameters()}
    learning = {name for name, weights in prepared.named_parameters() if weights.requires_grad}
    twin = copy.deepcopy(prepared) if kind == "bert" else None
    found = train(prepared, batch)
    changed = {name for name, weights in prepared.named_parameters() if not torch.equal(weights, before[name])}
    assert changed <= learning
    assert all(w.requires_grad or w.grad is None for w in prepared.parameters())
    if kind == "bert":
        assert changed >= {n for n in learning if not n.endswith(("key.bias", "token_type_embeddings.weight"))}
        own = re.compile(
            rf"{LEARNING[strategy]}|.*(pooler|classifier)\.(modules_to_save\.default\.)?(dense\.)?(weight|bias)"
        )
        assert learning == {name for name in before if own.fullmatch(name) and "original_module" not in name}
    assert not torch.allclose(found, start, atol=1e-2)
    if twin is not None:
        assert torch.equal(train(twin, batch), found)  # a copy is a model of its own

    trainable, total = strategies.count(prepared)
    added = {n for n in before if re.search(r"adapter|lora_|ia3_|prompt_encoder", n)}
    assert total == sum(w.numel() for w in base.values()) + sum(before[n].numel() for n in added)
    assert trainable == sum(before[name].numel() for name in learning)
    strategies.save(prepared, tmp_path / "saved")
    files = list((tmp_path / "saved").glob("*.safetensors"))
    assert [file.stem for file in files] == ["model" if STRATEGIES[strategy].whole else "adapter_model"]
    assert 0 <= files[0].stat().st_size - strategies.size_on_disk(prepared) < 8000  # of names and shapes
    loaded = strategies.load(tmp_path / "saved", tiny(kind))
    assert torch.allclose(logits(loaded, batch), found, atol=1e-6)
    if isinstance(prepared, PeftModel):
        assert torch.equal(logits(PeftModel.from_pretrained(tiny(kind), tmp_path / "saved"), batch), found)
    if strategy in ("lora", "ia3"):
        merged = strategies.merge(prepared)
        assert type(merged) is type(model) and torch.allclose(logits(merged, batch), found, atol=1e-5)
        assert torch.equal(logits(prepared, batch), found)
        assert {name for name, _ in merged.named_parameters()} == set(base)


@pytest.mark.parametrize("targets", peft_models.TARGETS)
def test_lora_is_merged_into_a_plain_model_that_saves_as_one(tiny_model, tmp_path, targets):
    model = strategies.prepare(models.load(tiny_model)[0], "lora", {"targets": targets, "rank": 3})
    changed = {name.partition(".lora_")[0] for name, _ in model.named_parameters() if ".lora_A" in name}
    assert len(changed) == LAYERS * {"queries values": 2, "attention": 4, "all linear": 6}[targets]
    batch = anatomy.example(model.get_base_model())
    found = train(model, batch)
    strategies.save(strategies.merge(model), tmp_path / "merged")
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged")
    assert torch.allclose(logits(loaded, batch), found, atol=1e-5)


def test_a_merged_model_is_saved_whole_whatever_was_prepared_before(tmp_path):
    model = strategies.prepare(strategies.prepare(tiny("bert"), "bitfit"), "lora")
    found = train(model, batch := anatomy.example(model.get_base_model()))
    strategies.save(strategies.merge(model), tmp_path / "merged")
    assert torch.allclose(logits(strategies.load(tmp_path / "merged"), batch), found, atol=1e-5)


def test_pefts_own_loader_takes_what_was_saved(tiny_model, tmp_path):
    model = strategies.prepare(models.load(tiny_model)[0], "lora")
    batch = anatomy.example(model.get_base_model())
    found = train(model, batch)
    strategies.save(model, tmp_path / "saved")
    assert torch.equal(logits(AutoPeftModelForSequenceClassification.from_pretrained(tmp_path / "saved"), batch), found)
    assert torch.equal(logits(strategies.load(tmp_path / "saved"), batch), found)  # the folder names the backbone


def test_gradual_unfreezing_goes_down_evenly():
    model = strategies.prepare(tiny("bert"), "gradual")
    assert strategies.count(model)[0] == strategies.count(model)[1]  # all of them are in the optimizer
    depths, recipe = anatomy.depths(model), Recipe(strategy="gradual", options={"until": 0.8})
    lowest = {0: 4, 0.19: 4, 0.2: 3, 0.39: 3, 0.4: 2, 0.6: 1, 0.79: 1, 0.8: 0, 1: 0}
    for progress in [*lowest, *list(lowest)[::-1]]:  # no matter what was before
        strategies.unfreeze(model, recipe, progress)
        learning = {depths[name] for name, weights in model.named_parameters() if weights.requires_grad}
        assert learning == set(range(lowest[progress], 5))
    before = [weights.requires_grad for weights in model.parameters()]
    strategies.unfreeze(model, Recipe(), 0.0)
    assert before == [weights.requires_grad for weights in model.parameters()]


def test_discriminative_rates_fall_from_the_head_down():
    model = strategies.prepare(tiny("bert"), "discriminative")
    rates = strategies.rates(model, Recipe(strategy="discriminative", options={"decay": 0.5}))
    assert set(rates) == {name for name, _ in model.named_parameters()}
    assert rates["classifier.weight"] == rates["bert.pooler.dense.bias"] == 1
    assert [rates[f"bert.encoder.layer.{i}.output.dense.weight"] for i in range(LAYERS)] == [0.125, 0.25, 0.5]
    assert rates["bert.embeddings.word_embeddings.weight"] == 0.0625
    assert strategies.rates(model, Recipe()) == {}


@pytest.mark.parametrize("strategy", ["houlsby", "lora", "prefix", "p-tuning"])
def test_the_seed_draws_what_is_new(strategy):
    drawn = []
    for seed in (0, 0, 1):
        torch.rand(1)
        state = torch.get_rng_state()
        model = strategies.prepare(tiny("bert"), strategy, seed=seed)
        assert torch.equal(torch.get_rng_state(), state)
        drawn.append(torch.cat([weights.flatten() for weights in adapters.learnt(model).values()]))
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize("strategy", ["houlsby", "lora", "p-tuning"])
def test_an_interrupted_run_goes_on(strategy, tiny_model, pairs, tmp_path):
    targets = one_hot(pairs["label"], 3)
    recipe = Recipe(strategy=strategy, options=SMALL[strategy], epochs=5, learning_rate=1e-2, batch_size=16)

    class Interrupted(Exception):
        pass

    def interrupt(row):
        if row["step"] == 9:
            raise Interrupted

    prepared = strategies.prepare(models.load(tiny_model)[0], strategy, recipe.options)
    rows = finetuning.encode(pairs, models.load(tiny_model)[1])
    whole, stopped, resumed = (copy.deepcopy(prepared) for _ in range(3))
    with pytest.raises(Interrupted):
        finetuning.train(
            stopped, rows, targets, recipe, 0, tmp_path, validation=(rows, targets), after_evaluation=interrupt
        )
    before = finetuning.predict(resumed, rows, pairs).filter(like="logit")
    for model, folder in ((whole, None), (resumed, tmp_path)):
        finetuning.train(model, rows, targets, recipe, 0, folder)
    found = [finetuning.predict(model, rows, pairs).filter(like="logit") for model in (whole, resumed)]
    np.testing.assert_allclose(*found, atol=1e-5)
    assert np.abs(found[0] - before).to_numpy().max() > 0.01


def test_pairs_and_virtual_tokens_share_the_positions():
    assert strategies.longest(tiny("bert")) == 64
    assert strategies.longest(strategies.prepare(tiny("bert"), "lora")) == 64
    for strategy in peft_models.PROMPTS:
        model = strategies.prepare(tiny("roberta"), strategy, {"tokens": 10})
        longest = strategies.longest(model)
        assert longest == 53
        ids = torch.randint(5, 99, (1, longest + 1))
        logits(model, {"input_ids": ids[:, 1:], "attention_mask": torch.ones_like(ids[:, 1:])})
        with pytest.raises((IndexError, RuntimeError)):
            logits(model, {"input_ids": ids, "attention_mask": torch.ones_like(ids)})


def test_freeze_leaves_the_last_layers_and_the_head(tiny_model):
    model, _ = models.load(tiny_model)
    strategies.freeze(model, 1)
    trainable = {name.split(".layer.")[-1].split(".")[0] for name, p in model.named_parameters() if p.requires_grad}
    assert trainable == {"2", "bert", "classifier"}  # layer 2 of 0 to 2, bert.pooler, the head
    with pytest.raises(InputError, match="trainable_layers=4: the model has 3 layers; choose 0 to 3"):
        strategies.freeze(model, 4)
    with pytest.raises(InputError, match="frozen: .* has 1 layers, shared by all depths; choose 0 to 1"):
        strategies.prepare(tiny("albert"), "frozen")


@pytest.mark.parametrize(
    "strategy, options, message",
    [
        ("best", {}, "strategy 'best' is unknown; choose from full, features, frozen"),
        ("full", {"rank": 2}, "strategy full: option 'rank' is unknown; it has none"),
        ("lora", {"size": 2}, "strategy lora: option 'size' is unknown; it has rank, alpha, dropout, targets"),
        ("lora", {"rank": 0}, "strategy lora: rank is 0; it must be a whole number above 0"),
        ("lora", {"rank": 2.5}, "rank is 2.5; it must be a whole number above 0"),
        ("lora", {"targets": "all"}, "targets is 'all'; it must be one of queries values, attention, all linear"),
        ("lora", {"dropout": 1}, "dropout is 1; it must be 0 or more, below 1"),
        ("lora", {"alpha": float("nan")}, "alpha is nan; it must be above 0"),
        ("gradual", {"until": None}, "until is None; it must be above 0, at most 1"),
        ("discriminative", {"decay": "0.8"}, "decay is '0.8'; it must be above 0, at most 1"),
        ("frozen", {"trainable_layers": True}, "trainable_layers is True; it must be a whole number, 0 or more"),
    ],
)
def test_settings_that_cannot_be_meant_are_named(strategy, options, message):
    with pytest.raises(InputError, match=message):
        strategies.prepare(None, strategy, options)


def test_what_cannot_be_prepared_merged_saved_or_loaded_says_so(tmp_path):
    for strategy in ("lora", "houlsby"):
        with pytest.raises(InputError, match="strategy full: the model has adapters already; prepare a fresh one"):
            strategies.prepare(strategies.prepare(tiny("bert"), strategy), "full")
    for strategy in ("full", "prompt"):
        with pytest.raises(InputError, match="only lora and ia3 can be merged"):
            strategies.merge(strategies.prepare(tiny("bert"), strategy))
    (tmp_path / "notes.txt").write_text("not a model")
    with pytest.raises(InputError, match="is there and holds no model; give a new or an empty folder"):
        strategies.save(tiny("bert"), tmp_path)
    with pytest.raises(InputError, match="cannot be loaded .*; give a saved model"):
        strategies.load(tmp_path)
    for strategy in ("lora", "bitfit"):
        strategies.save(strategies.prepare(tiny("bert"), strategy), tmp_path / "saved")  # the second replaces the first
        with pytest.raises(InputError, match="saved: .*load it onto the backbone, with as many labels"):
            strategies.load(tmp_path / "saved", tiny("distilbert"))
    assert [path.name for path in tmp_path.iterdir() if "saved" in path.name] == ["saved"]


@pytest.mark.parametrize("strategy", ["full", "lora", "bitfit"])
def test_a_broken_folder_is_one_clear_error(strategy, tmp_path):
    strategies.save(strategies.prepare(tiny("bert"), strategy), tmp_path)
    (weights,) = tmp_path.glob("*.safetensors")
    weights.write_bytes(b"cut off")
    with pytest.raises(InputError, match="cannot be loaded|does not fit|has no readable adapter_model.safetensors"):
        strategies.load(tmp_path, tiny("bert"))
    weights.unlink()
    with pytest.raises(InputError, match="cannot be loaded|has no adapter_model.safetensors"):
        strategies.load(tmp_path, tiny("bert"))
    weights.touch()
    for config in ("{}", "[1]", '{"strategy": "bitfit"}'):
        (tmp_path / adapters.CONFIG).write_text(config)
        with pytest.raises(InputError, match="has no readable adapter_config.json; give a folder that strategies.save"):
            strategies.load(tmp_path, tiny("bert"))
    (tmp_path / adapters.CONFIG).write_text('{"peft_type": "LORA", "base_model_name_or_path": null}')
    (tmp_path / adapters.WEIGHTS).touch()
    with pytest.raises(InputError, match="does not name its backbone; give it, loaded"):
        strategies.load(tmp_path)
