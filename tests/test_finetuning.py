"""Rows, batches, predictions, and the way from a corpus to a fine-tuned model; training itself is in test_trainer."""

import numpy as np
import pytest
import torch

from cift import features, finetuning, models, strategies
from cift.errors import InputError
from cift.losses import one_hot
from cift.recipe import Recipe


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_padding_is_what_the_model_takes_for_it():
    rows = [{"input_ids": torch.tensor(ids), "attention_mask": torch.ones(len(ids))} for ids in ([5, 6, 7], [8])]
    batch = finetuning.collate(rows, pad_id=9)
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 9, 9]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]


def test_padding_changes_nothing(tiny_model, pairs, monkeypatch):
    model, tokenizer = models.load(tiny_model)
    monkeypatch.setattr(finetuning, "has_bf16", lambda: False)
    rows = finetuning.encode(pairs, tokenizer)
    together = finetuning.predict(model, rows, pairs).filter(like="logit").to_numpy()
    monkeypatch.setattr(finetuning, "EVAL_BATCH", 1)
    alone = finetuning.predict(model, rows, pairs).filter(like="logit").to_numpy()
    np.testing.assert_allclose(together, alone, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
def test_the_gpu_gives_the_cpus_predictions(tiny_model, pairs, monkeypatch):
    model, tokenizer = models.load(tiny_model)
    rows = finetuning.encode(pairs, tokenizer)
    monkeypatch.setattr(finetuning, "has_bf16", lambda: False)
    on_gpu = finetuning.predict(model, rows, pairs).filter(like="logit").to_numpy()
    monkeypatch.setattr(finetuning, "device", lambda: torch.device("cpu"))
    on_cpu = finetuning.predict(model, rows, pairs).filter(like="logit").to_numpy()
    np.testing.assert_allclose(on_gpu, on_cpu, atol=1e-4)


def test_batches_hold_similar_lengths_in_random_order():
    lengths = np.random.default_rng(0).integers(5, 40, 1003)
    sampler = finetuning.LengthBuckets(lengths, 16, seed=1)
    first = list(sampler)
    assert sorted(first) == list(range(1003)) and len(sampler) == 1003
    assert list(sampler) == first
    sampler.set_epoch(1)
    assert list(sampler) != first
    batches = lengths[first[:992]].reshape(62, 16)
    assert np.ptp(batches, axis=1).mean() < 4  # of 35 in all
    means = batches.mean(axis=1)
    assert abs(np.corrcoef(means, np.arange(62))[0, 1]) < 0.3  # neither long to short nor the other way


# from a corpus to a model


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_fine_tune_is_load_prepare_encode_and_train(tiny_model, pairs):
    recipe = Recipe(epochs=2, learning_rate=1e-3, batch_size=16, strategy="bitfit")
    found, tokenizer, cost = finetuning.fine_tune(pairs, recipe, 3, tiny_model, validation=pairs.select(range(9)))
    model, _ = models.load(tiny_model, seed=3)
    model = strategies.prepare(model, "bitfit", seed=3)
    finetuning.train(model, finetuning.encode(pairs, tokenizer), one_hot(pairs["label"], 3), recipe, seed=3)
    assert torch.equal(weights(found), weights(model))
    assert (cost["trainable"], cost["total"]) == strategies.count(model)
    assert (cost["train_pairs"], cost["steps"], cost["cache_seconds"]) == (48, 6, 0)
    assert [row["epoch"] for row in cost["history"] if "validation_loss" in row] == [1, 2]
    other, _, _ = finetuning.fine_tune(pairs, recipe, 4, tiny_model)
    assert not torch.equal(weights(found), weights(other))


@pytest.mark.parametrize("strategy, options", [("features", {}), ("frozen", {"trainable_layers": 1})])
def test_what_is_frozen_runs_once_and_the_whole_model_has_learnt(tiny_model, pairs, monkeypatch, strategy, options):
    monkeypatch.setattr(finetuning, "has_bf16", lambda: False)
    monkeypatch.setattr(features, "has_bf16", lambda: False)
    recipe = Recipe(
        epochs=2,
        learning_rate=1e-3,
        batch_size=16,
        strategy=strategy,
        options=options,
        dropout=0.0,
        group_by_length=False,
    )
    lengths = []
    real = features.cache_states
    monkeypatch.setattr(features, "cache_states", lambda *given: lengths.append(len(given[1])) or real(*given))
    model, tokenizer, cost = finetuning.fine_tune(pairs, recipe, 0, tiny_model, validation=pairs.select(range(5)))
    assert lengths == [1, 48, 5] and cost["cache_seconds"] > 0  # one to see how large they are
    monkeypatch.setattr(finetuning, "CACHE_BYTES", 0)
    uncut, _, again = finetuning.fine_tune(pairs, recipe, 0, tiny_model, validation=pairs.select(range(5)))
    assert lengths == [1, 48, 5, 1] and again["cache_seconds"] == 0
    start = state(models.load(tiny_model)[0])
    for name, value in state(model).items():
        assert torch.equal(value, start[name]) != dict(model.named_parameters())[name].requires_grad, name
        torch.testing.assert_close(value, state(uncut)[name], atol=1e-6, rtol=0)
    rows = finetuning.encode(pairs, tokenizer)
    accuracy = (finetuning.predict(model, rows[:5], pairs.select(range(5))).eval("predicted == label")).mean()
    assert accuracy == cost["history"][-1]["validation_accuracy"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
@pytest.mark.parametrize("strategy, options", [("features", {}), ("frozen", {"trainable_layers": 1})])
def test_the_gpu_caches_and_trains_as_the_cpu_does(tiny_model, pairs, monkeypatch, strategy, options):
    recipe = Recipe(
        epochs=2, learning_rate=0.1, optimizer="sgd", batch_size=16, strategy=strategy, options=options, dropout=0.0,
        precision="fp32",
    )  # fmt: skip
    found = []
    for where in ("cuda", "cpu"):
        monkeypatch.setattr(finetuning, "device", lambda where=where: torch.device(where))
        model, tokenizer, cost = finetuning.fine_tune(pairs, recipe, 0, tiny_model, validation=pairs.select(range(5)))
        assert cost["cache_seconds"] > 0
        found.append(finetuning.logits(model, finetuning.encode(pairs, tokenizer), 3, bf16=False))
    np.testing.assert_allclose(*found, atol=1e-3)


def test_a_model_that_cannot_be_cut_is_trained_whole(tiny_model, pairs, monkeypatch):
    def refuse(*_, **__):
        raise InputError("cannot be cut")

    monkeypatch.setattr(features, "cut", refuse)
    recipe = Recipe(epochs=1, batch_size=16, strategy="features", learning_rate=None)
    _, _, cost = finetuning.fine_tune(pairs, recipe, 0, tiny_model)
    assert cost["cache_seconds"] == 0 and cost["steps"] == 3


def test_targets_need_not_be_labels(tiny_model, pairs):
    people = np.tile([0.6, 0.3, 0.1], (len(pairs), 1))
    recipe = Recipe(loss="mse", epochs=12, learning_rate=5e-3, batch_size=8)
    model, tokenizer, _ = finetuning.fine_tune(pairs, recipe, 0, tiny_model, targets=people)
    logits = torch.tensor(finetuning.logits(model, finetuning.encode(pairs, tokenizer), 3))
    np.testing.assert_allclose(logits.softmax(1).mean(0), [0.6, 0.3, 0.1], atol=0.05)


@pytest.mark.parametrize("strategy", ["full", "features", "frozen"])
def test_what_cannot_be_trained_on_is_said_before_anything_runs(tiny_model, pairs, strategy, monkeypatch):
    monkeypatch.setattr(finetuning, "forward", lambda *_, **__: pytest.fail("it ran"))
    monkeypatch.setattr(strategies, "longest", lambda model: 3)
    with pytest.raises(InputError, match="patience needs validation data; max_length: a pair has .* the model takes 3"):
        finetuning.fine_tune(pairs, Recipe(strategy=strategy, options={}, patience=1), 0, tiny_model)


def test_a_pair_without_label_is_neither_learnt_from_nor_judged(tiny_model, pairs):
    unlabelled = pairs.select(range(4)).map(lambda pair, i: {"label": -1 if i == 2 else 0}, with_indices=True)
    with pytest.raises(InputError, match="corpus: pair 3 has no label. Leave such pairs out"):
        finetuning.fine_tune(unlabelled, Recipe(), 0, tiny_model)
    with pytest.raises(InputError, match="corpus: pair 3 has no label. Leave such pairs out"):
        finetuning.fine_tune(pairs, Recipe(), 0, tiny_model, validation=unlabelled)
    model, tokenizer = models.load(tiny_model)
    with pytest.raises(InputError, match="corpus: pair 3 has no label. Leave such pairs out"):
        finetuning.predict(model, finetuning.encode(unlabelled, tokenizer), unlabelled)


@pytest.mark.parametrize("strategy", ["full", "features"])
def test_a_corpus_without_pairs_is_one_clear_error(tiny_model, pairs, strategy):
    with pytest.raises(InputError, match="training: 0 items with 0 targets; need as many of each, at least one"):
        finetuning.fine_tune(pairs.select([]), Recipe(strategy=strategy), 0, tiny_model)
