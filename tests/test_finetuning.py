"""Training and prediction: they learn, repeat, resume, and equal what they replace."""

import copy

import numpy as np
import pytest
import torch

from cift import finetuning, models, strategies
from cift.errors import InputError
from cift.finetuning import Recipe
from cift.losses import one_hot

RECIPE = Recipe(epochs=30, learning_rate=2e-3, batch_size=8)


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_a_small_model_learns_and_repeats(tiny_model, pairs):
    targets = one_hot(pairs["label"], 3)
    trained = []
    for _ in range(2):
        model, tokenizer = models.load(tiny_model)
        rows = finetuning.encode(pairs, tokenizer)
        finetuning.train(model, rows, targets, RECIPE, seed=0)
        assert "forward" not in vars(model)  # a copy must not call this model's forward
        trained.append(model)
    assert torch.equal(weights(trained[0]), weights(trained[1]))
    predictions = finetuning.predict(trained[0], rows, pairs)
    assert (predictions["predicted"] == predictions["label"]).mean() > 0.9
    assert list(predictions["item_id"]) == pairs["item_id"]


def test_an_interrupted_run_resumes_and_ends_with_the_same_weights(tiny_model, pairs, tmp_path, monkeypatch):
    targets = one_hot(pairs["label"], 3)
    recipe = Recipe(epochs=5, learning_rate=1e-3, batch_size=8)
    whole, tokenizer = models.load(tiny_model)
    rows = finetuning.encode(pairs, tokenizer)
    finetuning.train(whole, rows, targets, recipe, seed=0, folder=tmp_path / "whole")

    class Stopped(KeyboardInterrupt):
        pass

    real, calls = finetuning.collate, iter(range(1000))

    def stop_at_step_20(batch):
        if next(calls) == 20:
            raise Stopped
        return real(batch)

    stopped, _ = models.load(tiny_model)
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(finetuning, "collate", stop_at_step_20)
        finetuning.train(stopped, rows, targets, recipe, seed=0, folder=tmp_path / "stopped")
    found = finetuning.last_checkpoint(tmp_path / "stopped")
    assert found.endswith("checkpoint-18")
    (tmp_path / "stopped" / "checkpoint-24").mkdir()  # one whose writing was cut short
    assert finetuning.last_checkpoint(tmp_path / "stopped") == found
    resumed, _ = models.load(tiny_model)
    outcome = finetuning.train(resumed, rows, targets, recipe, seed=0, folder=tmp_path / "stopped")
    assert outcome["steps"] == 30
    assert torch.allclose(weights(whole), weights(resumed), atol=1e-6)


def test_cached_states_give_the_predictions_of_the_whole_model(tiny_model, pairs):
    model, tokenizer = models.load(tiny_model)
    rows = finetuning.encode(pairs, tokenizer)
    whole = finetuning.predict(model, rows, pairs).filter(like="logit").to_numpy()
    prefix, suffix = strategies.cut(model, 1)
    cached = finetuning.cache_states(prefix, rows)
    assert [len(row["inputs_embeds"]) for row in cached] == [len(row["input_ids"]) for row in rows]
    found = finetuning.predict(suffix, cached, pairs).filter(like="logit").to_numpy()
    np.testing.assert_allclose(found, whole, atol=0.02 if finetuning.has_bf16() else 1e-5)
    before = weights(prefix).clone()
    finetuning.train(copy.deepcopy(suffix), cached, one_hot(pairs["label"], 3), RECIPE, seed=0)
    assert torch.equal(weights(prefix), before)


def test_padding_changes_nothing(tiny_model, pairs, monkeypatch):
    model, tokenizer = models.load(tiny_model)
    monkeypatch.setattr(finetuning, "has_bf16", lambda: False)
    rows = finetuning.encode(pairs, tokenizer)
    together = finetuning.predict(model, rows, pairs).filter(like="logit").to_numpy()
    monkeypatch.setattr(finetuning, "EVAL_BATCH", 1)
    alone = finetuning.predict(model, rows, pairs).filter(like="logit").to_numpy()
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_mse_training_approaches_the_crowds_distribution(tiny_model, pairs):
    model, tokenizer = models.load(tiny_model)
    rows = finetuning.encode(pairs, tokenizer)
    people = np.tile([0.6, 0.3, 0.1], (len(pairs), 1))
    finetuning.train(model, rows, people, Recipe(loss="mse", epochs=20, learning_rate=3e-3, batch_size=8), seed=0)
    logits = torch.tensor(finetuning.predict(model, rows, pairs).filter(like="logit").to_numpy())
    np.testing.assert_allclose(logits.softmax(1).mean(0), [0.6, 0.3, 0.1], atol=0.05)


def test_bad_recipes_are_named():
    with pytest.raises(InputError, match="recipe: loss 'kl' is unknown; choose from cce, mse"):
        Recipe(loss="kl")
    with pytest.raises(InputError, match="recipe: learning_rate is 0; it must be above 0"):
        Recipe(learning_rate=0)
    with pytest.raises(InputError, match="0 items with 0 targets"):
        finetuning.train(None, [], np.empty((0, 3)), Recipe(), seed=0)


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
