"""Training: it learns, repeats, resumes bit by bit, stops in time, and does what the recipe says."""

import math
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cift import finetuning, models, strategies, trainer
from cift.errors import InputError
from cift.finetuning import train
from cift.losses import one_hot
from cift.recipe import Recipe

QUICK = {"epochs": 3, "learning_rate": 1e-3, "batch_size": 8}


@pytest.fixture
def lesson(tiny_model, pairs):
    """Rows and targets of the pairs, and the first half of them to validate on."""
    _, tokenizer = models.load(tiny_model)
    rows, targets = finetuning.encode(pairs, tokenizer), one_hot(pairs["label"], 3)
    return rows, targets, (rows[:24], targets[:24])


@pytest.fixture
def fresh(tiny_model):
    """From a recipe to a model prepared for it."""

    def prepared(recipe):
        return strategies.prepare(models.load(tiny_model)[0], recipe.strategy, recipe.options)

    return prepared


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


class Stopped(KeyboardInterrupt):
    pass


def stop_at(monkeypatch, calls):
    """Let the training batch of this number raise."""
    real, count = finetuning.collate, iter(range(100_000))

    def collate(rows, *pad_id, **named):
        if "labels" in rows[0] and next(count) == calls:
            raise Stopped
        return real(rows, *pad_id, **named)

    monkeypatch.setattr(finetuning, "collate", collate)


def test_a_small_model_learns_and_the_history_says_how(fresh, lesson):
    recipe = Recipe(epochs=15, learning_rate=3e-3, batch_size=8, schedule="constant")
    model = fresh(recipe)
    cost = train(model, *lesson[:2], recipe, seed=0, validation=lesson[2])
    assert "forward" not in vars(model)  # a copy must not call this model's forward
    history = cost["history"]
    assert cost["steps"] == 90 and [row["step"] for row in history] == list(range(1, 91))
    assert {"epoch", "learning_rate", "loss", "gradient_norm"} <= set(history[0])
    assert np.isclose(cost["train_loss"], np.mean([row["loss"] for row in history]))
    evaluated = [row for row in history if "validation_loss" in row]
    assert [row["step"] for row in evaluated] == list(range(6, 91, 6))
    assert evaluated[-1]["validation_loss"] < 0.5 < 1 < evaluated[0]["validation_loss"]
    logits = finetuning.logits(model, lesson[2][0], 3)
    assert evaluated[-1]["validation_accuracy"] == (logits.argmax(1) == lesson[2][1].argmax(1)).mean() > 0.6


def test_the_same_seed_gives_the_same_weights(fresh, lesson):
    rows, targets, validation = lesson
    recipe = Recipe(epochs=1, batch_size=16)
    models = [fresh(recipe) for _ in range(3)]
    for model, seed, watched in zip(models, (0, 0, 1), (None, validation, None), strict=True):
        train(model, rows, targets, recipe, seed, validation=watched)
    assert torch.equal(weights(models[0]), weights(models[1]))  # to be looked at changes nothing
    assert not torch.equal(weights(models[0]), weights(models[2]))


RESUMED = {
    "default": Recipe(**QUICK),
    "accumulation": Recipe(**QUICK | {"batch_size": 5}, accumulation=4),  # of 10 batches an epoch: 4, 4, 2
    "early, gradual": Recipe(**QUICK | {"epochs": 4}, strategy="gradual", patience=2, metric="accuracy"),
    "lora": Recipe(**QUICK | {"learning_rate": 1e-2}, strategy="lora", patience=2),
    "sgd, plateau": Recipe(
        **QUICK | {"learning_rate": 0.1}, optimizer="sgd", schedule="plateau", l1=1e-5, class_weights=(1, 2, 3)
    ),
}


@pytest.mark.parametrize("recipe", RESUMED.values(), ids=RESUMED)
def test_an_interrupted_run_resumes_and_ends_with_the_same_weights(recipe, fresh, lesson, tmp_path, monkeypatch):
    rows, targets, validation = lesson
    whole, stopped, resumed = (fresh(recipe) for _ in range(3))
    wanted = train(whole, rows, targets, recipe, seed=0, validation=validation)
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        stop_at(patch, int(0.6 * wanted["steps"] * recipe.accumulation))
        train(stopped, rows, targets, recipe, seed=0, folder=tmp_path, validation=validation)
    found = finetuning.last_checkpoint(tmp_path)
    (tmp_path / "checkpoint-99").mkdir()  # one whose writing was cut short
    assert finetuning.last_checkpoint(tmp_path) == found
    outcome = train(resumed, rows, targets, recipe, seed=0, folder=tmp_path, validation=validation)
    assert torch.equal(weights(whole), weights(resumed))
    assert outcome["history"] == wanted["history"] and outcome["steps"] == wanted["steps"]
    assert outcome["train_loss"] == wanted["train_loss"]


def test_a_checkpoint_of_another_run_is_refused(fresh, lesson, tmp_path):
    rows, targets, _ = lesson
    recipe = Recipe(epochs=1, batch_size=24, strategy="frozen", options={"trainable_layers": 1})
    train(fresh(recipe), rows, targets, recipe, 0, tmp_path)
    longer = replace(recipe, epochs=2, betas=(0.9, 0.99))
    for name, asked, seed, wanted in (
        ("seed", recipe, 1, targets),
        ("data", recipe, 0, targets[::-1]),
        ("epochs, betas", longer, 0, targets),
    ):
        with pytest.raises(InputError, match=f"checkpoint-2: is of a run with another {name}; give another folder"):
            train(fresh(asked), rows, wanted, asked, seed, tmp_path)
    assert train(fresh(recipe), rows, targets, recipe, 0, tmp_path)["steps"] == 2


def test_a_checkpoint_holds_what_learns_only(fresh, lesson, tmp_path):
    recipe = Recipe(epochs=1, batch_size=16, strategy="bitfit")
    model = fresh(recipe)
    train(model, *lesson[:2], recipe, seed=0, folder=tmp_path)
    from safetensors.torch import load_file

    kept = load_file(Path(finetuning.last_checkpoint(tmp_path)) / "model.safetensors")
    assert set(kept) == {name for name, value in model.named_parameters() if value.requires_grad}


# when to stop


@pytest.mark.parametrize("strategy", ["full", "gradual"])  # which lets learn, after the best weights, what did not yet
def test_early_stopping_ends_with_the_best_weights(fresh, lesson, tmp_path, strategy):
    """Validation on wrong labels: what is learnt makes it worse."""
    rows, targets, _ = lesson
    recipe = Recipe(epochs=6, learning_rate=5e-3, batch_size=8, patience=2, strategy=strategy)
    model, seen = fresh(recipe), []

    def watch(row):
        seen.append((row["validation_loss"], weights(model).clone()))

    wrong = rows, np.roll(targets, 1, axis=1)
    cost = train(model, rows, targets, recipe, 0, tmp_path, validation=wrong, after_evaluation=watch)
    losses = [loss for loss, _ in seen]
    best = int(np.argmin(losses))
    assert len(seen) == best + 3 < 6 and cost["steps"] == 6 * len(seen)
    assert losses == [row["validation_loss"] for row in cost["history"] if "validation_loss" in row]
    assert torch.equal(weights(model), seen[best][1])
    again = fresh(recipe)
    assert train(again, rows, targets, recipe, 0, tmp_path, validation=wrong)["steps"] >= cost["steps"]
    assert torch.equal(weights(again), weights(model))


def test_a_run_that_was_over_is_not_trained_further(fresh, lesson, tmp_path, monkeypatch):
    """Also where its last checkpoint is from the very step at which it lost patience."""
    rows, targets, validation = lesson
    recipe = Recipe(epochs=5, learning_rate=1e-7, batch_size=8, patience=1, metric="accuracy")
    first, again = fresh(recipe), fresh(recipe)
    cost = train(first, rows, targets, recipe, 0, tmp_path, validation=validation)
    assert cost["steps"] == 12 and finetuning.last_checkpoint(tmp_path).endswith("checkpoint-12")
    monkeypatch.setattr(trainer.RecipeTrainer, "train", lambda *_, **__: pytest.fail("trained again"))
    found = train(again, rows, targets, recipe, 0, tmp_path, validation=validation)
    assert torch.equal(weights(first), weights(again))
    assert (found["steps"], found["history"]) == (12, cost["history"])


def test_what_the_caller_sees_can_end_the_run(fresh, lesson):
    def prune(row):
        assert row["step"] == 6 and row["epoch"] == 1
        raise Stopped

    model = fresh(Recipe())
    with pytest.raises(Stopped):
        train(model, *lesson[:2], Recipe(**QUICK), 0, validation=lesson[2], after_evaluation=prune)
    assert "forward" not in vars(model)


@pytest.mark.parametrize("recipe", [Recipe(patience=1), Recipe(schedule="plateau")])
def test_what_needs_validation_says_so(recipe, fresh, lesson):
    with pytest.raises(InputError, match="(patience|schedule 'plateau') needs validation data"):
        train(fresh(recipe), *lesson[:2], recipe, seed=0)


def test_divergence_stops_at_once_and_keeps_the_last_good_checkpoint(fresh, lesson, tmp_path):
    recipe = Recipe(epochs=4, learning_rate=1e-3, batch_size=8, clip=None)
    model = fresh(recipe)

    def explode(row):
        if row["step"] == 12:
            model.classifier.weight.data.fill_(math.nan)

    with pytest.raises(InputError, match=r"diverged: the loss is nan in step 13 of 24, at a learning rate .*clip=1"):
        train(model, *lesson[:2], recipe, 0, tmp_path, validation=lesson[2], after_evaluation=explode)
    assert finetuning.last_checkpoint(tmp_path).endswith("checkpoint-10")


def test_weights_that_are_not_finite_are_no_result(fresh, lesson, tmp_path):
    """The last step can break what its own loss does not show."""
    recipe = Recipe(epochs=1, learning_rate=1e38, batch_size=48, optimizer="sgd", warmup=0, clip=None, l1=10)
    with pytest.raises(InputError, match="training diverged: weights are not finite after step 1 of 1"):
        train(fresh(recipe), *lesson[:2], recipe, seed=0, folder=tmp_path)
    assert finetuning.last_checkpoint(tmp_path) is None


# what the recipe says


def test_accumulated_batches_train_as_one_large_batch(fresh, lesson, monkeypatch):
    rows, targets, _ = lesson
    large = Recipe(epochs=2, batch_size=20, dropout=0.0, precision="fp32", class_weights=(1, 2, 3), l1=1e-6)
    small = Recipe(
        epochs=2, batch_size=5, accumulation=4, dropout=0.0, precision="fp32", class_weights=(1, 2, 3), l1=1e-6
    )
    models = fresh(large), fresh(small)
    costs = [train(model, rows, targets, recipe, 0) for model, recipe in zip(models, (large, small), strict=True)]
    assert costs[0]["steps"] == costs[1]["steps"] == 6  # of 20, 20 and 8 pairs, the last in batches of 5 and 3
    torch.testing.assert_close(weights(models[0]), weights(models[1]), atol=2e-7, rtol=0)
    for one, other in zip(costs[0]["history"], costs[1]["history"], strict=True):
        assert np.isclose(one["loss"], other["loss"], atol=1e-5)
        assert np.isclose(one["gradient_norm"], other["gradient_norm"], rtol=1e-4)


def test_targets_are_smoothed_and_items_weighted(fresh, lesson):
    """With no rate to speak of, the loss of the first step is that of the untrained model."""
    from cift.losses import class_weights, mse, smooth

    rows, targets, validation = lesson
    rows, targets = rows[:44], targets[:44]
    recipe = Recipe(
        loss="mse", epochs=1, batch_size=44, learning_rate=1e-9, dropout=0.0, precision="fp32", label_smoothing=0.3,
        class_weights="balanced",
    )  # fmt: skip
    model = fresh(recipe)
    logits = torch.tensor(finetuning.logits(model, rows, 3, bf16=False))
    cost = train(model, rows, targets, recipe, 0, validation=validation)
    wanted = mse(logits, torch.tensor(smooth(targets, 0.3)), torch.tensor(class_weights(targets, "balanced")))
    assert np.isclose(cost["train_loss"], wanted.item(), rtol=1e-4)
    plain = mse(logits[:24], torch.tensor(validation[1])).item()
    assert np.isclose(cost["history"][-1]["validation_loss"], plain, rtol=1e-4)


def test_dropout_is_set_everywhere_and_put_back(fresh, tiny_model):
    model = fresh(Recipe())
    model.config.classifier_dropout = 0.5
    model.lstm = torch.nn.LSTM(2, 2, num_layers=2, dropout=0.25)

    def shares():
        return [part.p for part in model.modules() if isinstance(part, torch.nn.Dropout)] + [
            model.lstm.dropout,
            model.config.hidden_dropout_prob,
            model.config.attention_probs_dropout_prob,
            model.config.classifier_dropout,
        ]

    before = shares()
    assert set(before) == {0.1, 0.25, 0.5}
    with pytest.raises(Stopped), trainer.dropout(model, 0.4):
        assert set(shares()) == {0.4}
        raise Stopped
    assert shares() == before
    with trainer.dropout(model, None):
        assert shares() == before


def test_gradual_unfreezing_follows_the_steps(fresh, lesson):
    recipe = Recipe(epochs=4, batch_size=16, strategy="gradual", options={"until": 1.0})
    model, learning = fresh(recipe), []
    train(
        model, *lesson[:2], recipe, 0, validation=lesson[2],
        after_evaluation=lambda _: learning.append(strategies.count(model)[0]),
    )  # fmt: skip
    assert learning == sorted(set(learning)) and len(learning) == 4
    assert (
        learning[-1] < strategies.count(model)[0] == sum(w.numel() for w in model.parameters())
    )  # as `prepare` left it


def test_precision_decides_what_is_multiplied(fresh, lesson, monkeypatch):
    monkeypatch.setattr(finetuning, "has_bf16", lambda: False)
    kinds = {}
    for precision in ("fp32", "bf16", "auto"):
        model, seen = fresh(Recipe()), set()
        layer = model.bert.encoder.layer[0].intermediate.dense
        layer.register_forward_hook(lambda _, __, output, seen=seen: seen.add(output.dtype))
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            train(model, *lesson[:2], Recipe(epochs=1, batch_size=16, precision=precision), 0, validation=lesson[2])
        kinds[precision] = seen
        emulated = [str(warning.message) for warning in told if "emulates bf16" in str(warning.message)]
        assert len(emulated) == (precision == "bf16")
    assert kinds == {"fp32": {torch.float32}, "bf16": {torch.bfloat16}, "auto": {torch.float32}}


def test_gradient_checkpointing_changes_no_result(fresh, lesson):
    plain = Recipe(epochs=1, batch_size=16, dropout=0.0, precision="fp32")
    thrifty = Recipe(epochs=1, batch_size=16, dropout=0.0, precision="fp32", gradient_checkpointing=True)
    models = fresh(plain), fresh(thrifty)
    for model, recipe in zip(models, (plain, thrifty), strict=True):
        train(model, *lesson[:2], recipe, seed=0)
    torch.testing.assert_close(weights(models[0]), weights(models[1]), atol=1e-7, rtol=0)
    assert not models[1].is_activation_checkpointing
    models[0].supports_gradient_checkpointing = False
    with pytest.raises(InputError, match="gradient_checkpointing: a bert model does not have it"):
        train(models[0], *lesson[:2], thrifty, seed=0)


def test_compiling_without_a_compiler_is_one_clear_error(fresh, lesson, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(InputError, match="compile needs a C.. compiler, and there is none"):
        train(fresh(Recipe()), *lesson[:2], Recipe(compile=True), seed=0)


def test_compiling_is_done_when_asked_and_then_only(fresh, lesson, monkeypatch):
    asked = []
    monkeypatch.setenv("CXX", sys.executable)  # something that is there
    monkeypatch.setattr(torch, "compile", lambda model, **how: asked.append((type(model), how["backend"])) or model)
    model = fresh(Recipe())
    for choice in (True, False):
        train(model, *lesson[:2], Recipe(epochs=1, batch_size=24, compile=choice), seed=0)
    assert asked == [(type(model), "inductor")]


def test_tensorboard_gets_the_curves_when_asked(fresh, lesson, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    recipe = Recipe(epochs=2, batch_size=16)
    cost = train(fresh(recipe), *lesson[:2], recipe, seed=0, validation=lesson[2], log_dir=tmp_path / "runs")
    events = EventAccumulator(str(tmp_path / "runs")).Reload()
    logged = [event.value for event in events.Scalars("train/loss")]
    np.testing.assert_allclose(logged, [row["loss"] for row in cost["history"]], rtol=1e-6)
    assert len(events.Scalars("eval/accuracy")) == 2


def test_a_run_that_breaks_off_has_its_curves_on_disk(fresh, lesson, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def stop(_):
        raise Stopped

    with pytest.raises(Stopped):
        train(fresh(Recipe()), *lesson[:2], Recipe(**QUICK), 0, None, True, lesson[2], stop, tmp_path)
    assert len(EventAccumulator(str(tmp_path)).Reload().Scalars("train/loss")) == 6


def test_nothing_to_learn_from_is_said_so(fresh, lesson):
    with pytest.raises(InputError, match="training: 0 items with 0 targets; need as many of each, at least one"):
        train(None, [], np.empty((0, 3)), Recipe(), seed=0)
    rows, targets, _ = lesson
    with pytest.raises(InputError, match="validation: 48 items with 47 targets"):
        train(fresh(Recipe()), rows, targets, Recipe(), seed=0, validation=(rows, targets[1:]))
    for wrong in (targets[:, :2], np.full_like(targets, np.nan), 5 * targets, 2 * targets - 1 / 3):
        with pytest.raises(InputError, match="training: each target must be 3 probabilities, one for each label"):
            train(fresh(Recipe()), rows, wrong, Recipe(), seed=0)


def test_a_pair_that_is_too_long_is_found_in_either_part(fresh, lesson):
    rows, targets, validation = lesson
    model = fresh(Recipe())
    limit = strategies.longest(model)
    long = [{name: torch.ones(limit + 1, dtype=torch.long) for name in rows[0]}]
    for part, watched in ((long + rows[1:], validation), (rows, (long, targets[:1]))):
        with pytest.raises(InputError, match=f"max_length: a pair has {limit + 1} tokens, the model takes {limit}"):
            train(model, part, targets, Recipe(), 0, validation=watched)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
@pytest.mark.parametrize("strategy", ["full", "lora", "pfeiffer", "prompt"])
def test_the_gpu_trains_what_the_cpu_does(fresh, lesson, tmp_path, monkeypatch, strategy):
    rows, targets, validation = lesson
    recipe = Recipe(  # not adamw, which makes steps of what is rounding: the gradient of the keys' biases
        epochs=2, batch_size=8, optimizer="sgd", learning_rate=0.1, dropout=0.0, precision="fp32", strategy=strategy,
        class_weights=(1, 2, 3), l1=1e-6, patience=2,
    )  # fmt: skip
    on_gpu, on_cpu = fresh(recipe), fresh(recipe)
    first = train(on_gpu, rows, targets, recipe, 0, tmp_path, validation=validation)
    assert (
        train(fresh(recipe), rows, targets, recipe, 0, tmp_path, validation=validation)["history"] == first["history"]
    )
    monkeypatch.setattr(finetuning, "device", lambda: torch.device("cpu"))
    second = train(on_cpu, rows, targets, recipe, 0, validation=validation)
    torch.testing.assert_close(weights(on_gpu).cpu(), weights(on_cpu), atol=1e-4, rtol=0)
    assert np.isclose(first["train_loss"], second["train_loss"], rtol=1e-3)


@pytest.mark.parametrize("grouped", [True, False])
def test_buckets_hold_what_a_step_takes_and_similar_lengths_when_asked(fresh, lesson, tmp_path, grouped):
    examples = [{**row, "labels": torch.tensor(t)} for row, t in zip(*lesson[:2], strict=True)]
    recipe = Recipe(batch_size=4, accumulation=3, group_by_length=grouped)
    buckets = trainer.RecipeTrainer(fresh(recipe), examples, recipe, 0, tmp_path, False, False).buckets
    assert buckets.batch_size == 12
    spread = np.ptp(np.array([len(lesson[0][i]["input_ids"]) for i in buckets]).reshape(4, 12), axis=1)
    assert (spread.mean() < 3) == grouped
