"""What a fine-tuning run does, in one validated table of settings."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from cift.errors import InputError
from cift.files import one_message
from cift.losses import LOSSES
from cift.strategies import STRATEGIES, settings

OPTIMIZERS = ("adamw", "adam", "rmsprop", "sgd")
SCHEDULES = ("linear", "cosine", "cosine-restarts", "plateau", "constant")
METRICS = ("loss", "accuracy")
PRECISIONS = ("auto", "bf16", "fp32")


@dataclass(frozen=True)
class Recipe:
    """The settings of a fine-tuning run. Raises InputError for values that cannot be meant.

    What is learnt
        loss: a name of `cift.losses.LOSSES`. label_smoothing: share of the target's mass that is spread over all
        labels. class_weights: None, "balanced" (as the training targets' labels are rare), or one weight per label.
    Which parameters learn
        strategy: a name of `cift.strategies.STRATEGIES`; options: the strategy's own settings, such as {"rank": 8}.
    How long, in what portions
        epochs, batch_size, accumulation (batches per step, which learns what one batch of their size would), max_length
        (tokens; longer pairs are truncated), group_by_length (batches of pairs of similar length).
    How
        optimizer: adamw, adam, rmsprop or sgd; betas for the first two, momentum for sgd. learning_rate: None takes the
        strategy's own. schedule: linear, cosine, cosine-restarts (with `restarts`), plateau, constant; warmup: share of
        the steps over which the rate rises linearly first. A plateau lowers it after each evaluation without a better
        `metric`. clip: the gradient's largest norm (None: as it is).
    Against overfitting
        weight_decay (L2) and l1 act on weight matrices, not on biases and norms. dropout: None leaves the model's own.
        patience: stop after so many evaluations without a better `metric` on the validation data, and restore the best
        weights (None: never stop early).
    On what machine
        precision: auto (bf16 where the device multiplies it in hardware), bf16 (where it does not, slowly) or fp32.
        gradient_checkpointing: less memory for more time. compile: `torch.compile`, which takes a minute to begin with.
    """

    loss: str = "cce"
    epochs: int = 2
    learning_rate: float | None = None
    batch_size: int = 32
    weight_decay: float = 0.01
    warmup: float = 0.06
    max_length: int = 128
    strategy: str = "full"
    options: Mapping[str, Any] = field(default_factory=dict)
    optimizer: str = "adamw"
    betas: tuple[float, float] = (0.9, 0.98)  # 0.999 forgets so slowly that short runs at high rates collapse
    momentum: float = 0.9
    schedule: str = "linear"
    restarts: int = 1
    clip: float | None = 1.0
    accumulation: int = 1
    l1: float = 0.0
    dropout: float | None = None
    label_smoothing: float = 0.0
    class_weights: str | tuple[float, ...] | None = None
    patience: int | None = None
    metric: str = "loss"
    precision: str = "auto"
    group_by_length: bool = True
    gradient_checkpointing: bool = False
    compile: bool = False

    def __post_init__(self) -> None:
        problems = [
            f"{name} {getattr(self, name)!r} is unknown; choose from {', '.join(choices)}"
            for name, choices in _CHOICES.items()
            if getattr(self, name) not in tuple(choices)
        ]
        problems += [
            f"{name} is {value!r}; it must be {rule.words}"
            for name, rule in _RULES.items()
            if not rule.holds(value := getattr(self, name))
        ]
        if self.strategy in tuple(STRATEGIES) and isinstance(self.options, Mapping):
            try:
                settings(self.strategy, self.options)
            except InputError as error:
                problems.append(str(error))
        if problems:
            raise one_message("recipe", problems, "See cift.recipe.Recipe for what each setting means")


_CHOICES: dict[str, Collection[str]] = {
    "loss": LOSSES,
    "strategy": STRATEGIES,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "metric": METRICS,
    "precision": PRECISIONS,
}


class _Rule(NamedTuple):
    holds: Callable[[Any], bool]
    words: str

    def or_none(self) -> _Rule:
        return _Rule(lambda value: value is None or self.holds(value), f"{self.words}, or None")


def _number(value: Any, whole: bool = False) -> bool:
    kind = numbers.Integral if whole else numbers.Real
    return isinstance(value, kind) and not isinstance(value, bool) and math.isfinite(value)


def _share(value: Any) -> bool:
    return _number(value) and 0 <= value < 1


def _weights(value: Any) -> bool:
    return isinstance(value, (tuple, list)) and all(_number(each) and each >= 0 for each in value) and any(value)


_COUNT = _Rule(lambda value: _number(value, whole=True) and value >= 1, "a whole number, 1 or more")
_POSITIVE = _Rule(lambda value: _number(value) and value > 0, "above 0")
_NOT_NEGATIVE = _Rule(lambda value: _number(value) and value >= 0, "0 or more")
_SHARE = _Rule(_share, "from 0 to below 1")
_SWITCH = _Rule(lambda value: isinstance(value, bool), "True or False")
_RULES = {
    "epochs": _COUNT,
    "batch_size": _COUNT,
    "accumulation": _COUNT,
    "max_length": _COUNT,
    "restarts": _COUNT,
    "patience": _COUNT.or_none(),
    "learning_rate": _POSITIVE.or_none(),
    "clip": _POSITIVE.or_none(),
    "weight_decay": _NOT_NEGATIVE,
    "l1": _NOT_NEGATIVE,
    "warmup": _SHARE,
    "momentum": _SHARE,
    "label_smoothing": _SHARE,
    "dropout": _SHARE.or_none(),
    "betas": _Rule(
        lambda value: isinstance(value, (tuple, list)) and len(value) == 2 and all(map(_share, value)),
        "two numbers from 0 to below 1",
    ),
    "class_weights": _Rule(
        lambda value: value is None or (value == "balanced" if isinstance(value, str) else _weights(value)),
        "None, 'balanced', or a weight of 0 or more for each label, not all of them 0",
    ),
    "options": _Rule(lambda value: isinstance(value, Mapping), "a dict of the strategy's options"),
    "group_by_length": _SWITCH,
    "gradient_checkpointing": _SWITCH,
    "compile": _SWITCH,
}
