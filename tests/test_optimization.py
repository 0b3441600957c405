"""The recipe's optimizer and schedule: groups, steps by hand, rates step by step, what a checkpoint keeps."""

import io
import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from cift import models, optimization, strategies
from cift.errors import InputError
from cift.optimization import decayed, l1, optimizer, schedule
from cift.recipe import Recipe

RECIPE = Recipe(learning_rate=0.1, weight_decay=0.5)


def small():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3), nn.Linear(3, 1))


def rates_over(recipe, steps=20, scores=()):
    """The learning rate at every step of a run, evaluated after each third step for as long as there are scores."""
    made = optimizer(small(), recipe)
    schedule_, found, scores = schedule(made, recipe, steps), [], list(scores)
    for step in range(1, steps + 1):
        found.append(made.param_groups[0]["lr"] / recipe.learning_rate)
        made.step()
        if recipe.schedule != "plateau":
            schedule_.step()
        elif scores and step % 3 == 0:
            schedule_.step(scores.pop(0))
    return found


@pytest.mark.parametrize("kind", ["Bert", "DebertaV2", "ModernBert", "Llama", "GPT2", "recurrent"])
def test_what_decays_is_what_the_trainer_decays(kind):
    import transformers

    if kind == "recurrent":
        model = nn.ModuleDict({"read": nn.LSTM(4, 4), "memory_norm": nn.LayerNorm(4), "words": nn.Embedding(9, 4)})
    else:
        sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
        config = getattr(transformers, f"{kind}Config")(vocab_size=50, pad_token_id=0, **sizes)
        model = transformers.AutoModelForSequenceClassification.from_config(config)
    expected = transformers.Trainer.get_decay_parameter_names(None, model)
    found = decayed(model)
    assert found and set(found) == set(expected) & {name for name, _ in model.named_parameters()}


def test_a_norm_whose_name_does_not_say_so_does_not_decay():
    assert decayed(small()) == ["0.weight", "2.weight"]


def test_groups_are_merged_by_decay_and_factor_and_the_fastest_is_first(monkeypatch):
    factors = {"0.weight": 0.25, "0.bias": 0.25, "1.weight": 0.5, "1.bias": 0.5}
    monkeypatch.setattr(strategies, "rates", lambda model, recipe: factors)
    model = small()
    groups = optimizer(model, RECIPE).param_groups
    assert [(group["lr"], group["weight_decay"]) for group in groups] == [
        (0.1, 0.5),
        (0.1, 0.0),
        (0.05, 0.0),
        (0.025, 0.5),
        (0.025, 0.0),
    ]
    assert [len(group["params"]) for group in groups] == [1, 1, 2, 1, 1]
    assert groups[0]["params"][0] is model[2].weight


def test_the_default_is_the_trainers_adamw(tiny_model, tmp_path):
    from transformers import Trainer, TrainingArguments

    recipe = Recipe(learning_rate=5e-5)
    finals = []
    for own in (True, False):
        model, _ = models.load(tiny_model)
        args = TrainingArguments(
            str(tmp_path), learning_rate=5e-5, weight_decay=0.01, adam_beta2=0.98, use_cpu=True, report_to="none"
        )
        made = optimizer(model, recipe) if own else Trainer(model, args).create_optimizer()
        assert type(made) is torch.optim.AdamW and made.defaults["fused"]
        generator = torch.Generator().manual_seed(0)
        for _ in range(3):
            for weights in model.parameters():
                weights.grad = torch.randn(weights.shape, generator=generator)
            made.step()
        finals.append(nn.utils.parameters_to_vector(model.parameters()).detach())
    assert torch.equal(*finals)


@pytest.mark.parametrize(
    ("name", "expected"),
    [  # weight 2, gradient 1, rate 0.1, decay 0.5: the first step by hand
        ("adamw", 2 - 0.1 * 0.5 * 2 - 0.1 * 1),
        ("adam", 2 - 0.1 * 1),  # (1 + 0.5 * 2) / |1 + 0.5 * 2|: the decay is divided away
        ("rmsprop", 2 - 0.1 * 2 / math.sqrt(0.01 * 2**2)),
        ("sgd", 2 - 0.1 * 2),
    ],
)
def test_first_step_by_hand(name, expected):
    model = nn.Linear(1, 1)
    nn.init.constant_(model.weight, 2.0)
    nn.init.constant_(model.bias, 2.0)
    model.weight.grad, model.bias.grad = torch.ones(1, 1), torch.ones(1)
    optimizer(model, replace(RECIPE, optimizer=name)).step()
    assert model.weight.item() == pytest.approx(expected, abs=1e-6)
    without_decay = 2 - 0.1 / 0.1 if name == "rmsprop" else 2 - 0.1
    assert model.bias.item() == pytest.approx(without_decay, abs=1e-6)


def test_the_recipes_betas_and_momentum_arrive():
    model = small()
    assert optimizer(model, replace(RECIPE, optimizer="adam", betas=(0.5, 0.6))).defaults["betas"] == (0.5, 0.6)
    assert optimizer(model, replace(RECIPE, optimizer="sgd", momentum=0.7)).defaults["momentum"] == 0.7


def test_what_is_thawed_later_learns_and_what_stays_frozen_keeps_its_weights():
    model = small()
    model[0].requires_grad_(False)
    made = optimizer(model, RECIPE)
    before = model[0].weight.clone()
    for thawed in (False, True):
        model[0].requires_grad_(thawed)
        made.zero_grad()
        model(torch.ones(4, 2)).pow(2).sum().backward()
        made.step()
        assert torch.equal(before, model[0].weight) is not thawed


def test_a_model_without_anything_to_train_is_refused():
    with pytest.raises(InputError, match="every parameter of the model is frozen; choose a strategy that trains some"):
        optimizer(small().requires_grad_(False), RECIPE)


def test_without_a_learning_rate_the_strategy_or_the_model_gives_its_own():
    from types import SimpleNamespace

    recipe = Recipe(strategy="lora")
    scratch = small()
    scratch.config = SimpleNamespace(default_learning_rate=3e-4)
    assert optimization.learning_rate(small(), Recipe()) == strategies.STRATEGIES["full"].learning_rate
    assert optimization.learning_rate(scratch, Recipe()) == 3e-4
    assert optimization.learning_rate(scratch, Recipe(learning_rate=1e-2)) == 1e-2
    for model in (small(), scratch):
        assert optimization.learning_rate(model, recipe) == strategies.STRATEGIES["lora"].learning_rate
    assert optimizer(small(), recipe).param_groups[0]["lr"] == strategies.STRATEGIES["lora"].learning_rate


@pytest.mark.parametrize("name", ["linear", "cosine", "cosine-restarts", "plateau", "constant"])
def test_every_schedule_warms_up(name):
    found = rates_over(replace(RECIPE, schedule=name, warmup=0.2))
    assert found[:5] == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    assert rates_over(replace(RECIPE, schedule=name, warmup=0.0))[0] == pytest.approx(1)


def test_shapes_of_the_schedules():
    def over(**settings):
        return rates_over(replace(RECIPE, warmup=0.0, **settings), steps=20)

    assert over(schedule="linear") == pytest.approx([1 - k / 20 for k in range(20)])
    assert over(schedule="cosine") == pytest.approx([(1 + math.cos(math.pi * k / 20)) / 2 for k in range(20)])
    half = [(1 + math.cos(math.pi * k / 10)) / 2 for k in range(10)]
    assert over(schedule="cosine-restarts", restarts=1) == pytest.approx(half * 2)
    assert over(schedule="constant") == [1] * 20


def test_plateau_halves_when_the_metric_is_no_better():
    recipe = replace(RECIPE, schedule="plateau", warmup=0.2)
    # evaluated after steps 3 (still warming up), 6, 9, 12, 15, 18
    found = rates_over(recipe, scores=[0.1, 1.0, 0.9, 0.95, 0.8, 0.8])
    assert found[4:] == pytest.approx([1] * 8 + [0.5] * 6 + [0.25] * 2)
    accuracies = rates_over(replace(recipe, metric="accuracy"), scores=[0.9, 0.5, 0.6, 0.5, 0.7, 0.8])
    assert accuracies[4:] == pytest.approx([1] * 8 + [0.5] * 8)


@pytest.mark.parametrize("name", ["linear", "plateau"])
def test_a_saved_schedule_goes_on_where_it_was(name):
    recipe = replace(RECIPE, schedule=name, warmup=0.5)

    def run(made, plan, steps):
        found = []
        for step in steps:
            found.append([group["lr"] for group in made.param_groups])
            made.step()
            if name != "plateau":
                plan.step()
            elif step % 2:
                plan.step(1.0)
        return found

    whole = optimizer(small(), recipe)
    expected = run(whole, schedule(whole, recipe, 20), range(20))
    first = optimizer(small(), recipe)
    plan = schedule(first, recipe, 20)
    run(first, plan, range(7))
    kept = io.BytesIO()
    torch.save([first.state_dict(), plan.state_dict()], kept)
    kept.seek(0)
    states = torch.load(kept, weights_only=True)  # as the Trainer loads them
    second = optimizer(small(), recipe)
    plan = schedule(second, recipe, 20)
    second.load_state_dict(states[0])
    plan.load_state_dict(states[1])
    assert run(second, plan, range(7, 20)) == expected[7:]


def test_l1_is_a_sum_over_trainable_weights():
    model = small()
    model[2].requires_grad_(False)
    penalty = l1(model, replace(RECIPE, l1=0.01))
    assert penalty.item() == pytest.approx(0.01 * model[0].weight.abs().sum().item())
    penalty.backward()
    assert torch.equal(model[0].weight.grad, 0.01 * model[0].weight.detach().sign())
    assert model[0].bias.grad is None
    assert l1(model.requires_grad_(False), replace(RECIPE, l1=0.01)) == 0
