"""A recipe says everything that is wrong with it at once, and needs no torch to do so."""

import subprocess
import sys
from dataclasses import asdict, fields

import numpy as np
import pytest

from cift.errors import InputError
from cift.losses import LOSSES
from cift.recipe import METRICS, OPTIMIZERS, PRECISIONS, SCHEDULES, Recipe
from cift.strategies import STRATEGIES

WRONG = {  # setting: values that cannot be meant
    "loss": ["hinge", None, ["cce"]],
    "strategy": ["adapter"],
    "optimizer": ["adamax"],
    "schedule": ["step"],
    "metric": ["f1"],
    "precision": ["fp16"],
    "epochs": [0, 1.5, "2", True],
    "batch_size": [0],
    "accumulation": [0],
    "max_length": [-1],
    "restarts": [0],
    "patience": [0, 1.5],
    "learning_rate": [0, float("nan"), float("inf"), "1e-4"],
    "clip": [0, -1],
    "weight_decay": [-0.1, None],
    "l1": [-1e-6],
    "warmup": [-0.1, 1],
    "momentum": [1],
    "label_smoothing": [1, -0.1],
    "dropout": [1, "0.1"],
    "betas": [(0.9,), (0.9, 1.0), 0.9, (0.9, 0.9, 0.9)],
    "class_weights": ["rare", (1, -1, 1), (0, 0, 0), (), np.ones(3)],
    "options": [{"rank": 8}, None, "rank"],
    "group_by_length": [None, 1],
    "gradient_checkpointing": ["yes"],
    "compile": [1],
}
RIGHT = {
    "learning_rate": [None, 1],
    "clip": [None, 5],
    "dropout": [None, 0],
    "patience": [None, 3],
    "class_weights": [None, "balanced", (1, 2, 0.5)],
    "betas": [(0, 0.5)],
    "warmup": [0],
    "strategy": list(STRATEGIES),
    "loss": list(LOSSES),
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "metric": METRICS,
    "precision": PRECISIONS,
}


def test_every_setting_is_checked():
    assert set(WRONG) == {field.name for field in fields(Recipe)}


@pytest.mark.parametrize("name, value", [(name, value) for name, values in WRONG.items() for value in values])
def test_what_cannot_be_meant_is_named(name, value):
    with pytest.raises(InputError, match=f"(?s)recipe: .*{'option' if name == 'options' else name}"):
        Recipe(**{name: value})


@pytest.mark.parametrize("name, value", [(name, value) for name, values in RIGHT.items() for value in values])
def test_what_can_be_meant_is_taken(name, value):
    assert asdict(Recipe(**{name: value}))[name] == value


def test_all_that_is_wrong_is_said_at_once():
    with pytest.raises(InputError) as caught:
        Recipe(loss="hinge", epochs=0, learning_rate=-1, strategy="lora", options={"rnk": 8})
    message = str(caught.value)
    assert "loss 'hinge' is unknown; choose from cce, " in message
    assert "epochs is 0; it must be a whole number, 1 or more" in message
    assert "learning_rate is -1; it must be above 0, or None" in message
    assert "strategy lora: option 'rnk' is unknown; it has rank" in message


def test_a_strategy_s_options_belong_to_it():
    assert Recipe(strategy="frozen", options={"trainable_layers": 1}).options == {"trainable_layers": 1}
    with pytest.raises(InputError, match="strategy full: option 'trainable_layers' is unknown"):
        Recipe(options={"trainable_layers": 1})


def test_a_recipe_needs_no_heavy_library():
    heavy = "torch transformers datasets peft"
    code = f"import sys, cift.recipe; cift.recipe.Recipe(); print([m for m in '{heavy}'.split() if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
