"""Which parameters learn, and when: every way to fine-tune, by name.

`prepare` applies a strategy to a fresh classifier. In each of them the head learns, that is what lies between the
encoder and the labels (`cift.anatomy.head`). PEFT does lora, ia3, prefix, prompt and p-tuning (`cift.peft_models`), and
the model is then a `peft.PeftModel`; houlsby and pfeiffer are in `cift.adapters`; the rest is a choice of parameters.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cift import adapters, anatomy
from cift.errors import InputError
from cift.peft_models import TARGETS, adapt
from cift.peft_models import merge as merge  # one of this module's verbs

if TYPE_CHECKING:
    from peft import PeftModel
    from torch import Tensor, nn
    from transformers import PreTrainedModel

    from cift.recipe import Recipe


@dataclass(frozen=True)
class Strategy:
    """What it does, in a line, and its options with their defaults.

    learning_rate: where to start from, with encoders of MiniLM's size and one to three hundred batches of 16: within a
    factor of three of the best of three rates that were tried on 512 SNLI pairs with one seed.
    whole: whether `save` writes the whole model, else only what was learnt.
    """

    description: str
    learning_rate: float
    options: Mapping[str, Any] = field(default_factory=dict)
    whole: bool = False


STRATEGIES = {
    "full": Strategy("all parameters learn", 1e-4, whole=True),
    "features": Strategy("only the head learns; the encoder can run once", 2e-3),
    "frozen": Strategy("the head and the last layers learn", 3e-4, {"trainable_layers": 2}, whole=True),
    "gradual": Strategy("layers join from the top, evenly until a share of the run", 2e-4, {"until": 0.5}, whole=True),
    "discriminative": Strategy("each layer learns more slowly than the one above it", 2e-4, {"decay": 0.8}, whole=True),
    "houlsby": Strategy("adapters after attention and feed-forward, and norms", 2e-3, {"size": 64}),
    "pfeiffer": Strategy("adapters after feed-forward", 2e-3, {"size": 64}),
    "lora": Strategy(
        "low-rank changes of weight matrices",
        2e-3,
        {"rank": 8, "alpha": 16, "dropout": 0.0, "targets": "queries values"},
    ),
    "prefix": Strategy("virtual keys and values in each layer", 1e-2, {"tokens": 20}),
    "prompt": Strategy("virtual tokens before the pair", 3e-2, {"tokens": 20}),
    "p-tuning": Strategy("virtual tokens that a small network makes", 3e-3, {"tokens": 20, "size": 128}),
    "bitfit": Strategy("only biases and the head learn", 2e-3),
    "ia3": Strategy("factors on keys, values and feed-forward activations", 2e-2),
}


def _number(value: Any, kind: type = float) -> bool:
    return type(value) in (int, kind) and math.isfinite(value)


_COUNT = ("a whole number above 0", lambda value: _number(value, int) and value > 0)
_SHARE = ("above 0, at most 1", lambda value: _number(value) and 0 < value <= 1)
_RULES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "trainable_layers": ("a whole number, 0 or more", lambda value: _number(value, int) and value >= 0),
    "until": _SHARE,
    "decay": _SHARE,
    "dropout": ("0 or more, below 1", lambda value: _number(value) and 0 <= value < 1),
    "alpha": ("above 0", lambda value: _number(value) and value > 0),
    "targets": (f"one of {', '.join(TARGETS)}", lambda value: value in tuple(TARGETS)),
    "size": _COUNT,
    "rank": _COUNT,
    "tokens": _COUNT,
}


def settings(strategy: str, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A strategy's options, with its defaults for those not given.

    Raises InputError for a strategy or an option that is unknown, and for values that cannot be meant.
    """
    if strategy not in STRATEGIES:
        raise InputError(f"strategy {strategy!r} is unknown; choose from {', '.join(STRATEGIES)}")
    defaults = STRATEGIES[strategy].options
    for name, value in (options or {}).items():
        if name not in defaults:
            raise InputError(f"strategy {strategy}: option {name!r} is unknown; it has {', '.join(defaults) or 'none'}")
        words, holds = _RULES[name]
        if not holds(value):
            raise InputError(f"strategy {strategy}: {name} is {value!r}; it must be {words}")
    return {**defaults, **(options or {})}


def prepare(
    model: PreTrainedModel, strategy: str = "full", options: Mapping[str, Any] | None = None, seed: int = 0
) -> PreTrainedModel | PeftModel:
    """Apply a strategy to a fresh classifier, in place; returns it, or PEFT's model around it.

    The seed fixes the new parameters. For gradual all parameters are trainable here, so that they are in the optimizer;
    `unfreeze` takes it from there.

    Raises InputError, before anything is trained, for what `settings` refuses, for a model with adapters already, and
    where the backbone cannot take the strategy: it says why, and what to take. The model is then to be loaded anew.
    """
    import torch
    from peft import PeftModel

    chosen = settings(strategy, options)
    if isinstance(model, PeftModel) or "tasks" in vars(model):
        raise InputError(f"strategy {strategy}: the model has adapters already; prepare a fresh one")
    model.requires_grad_(True)
    vars(model).pop("adaptation", None)  # of another strategy: what PEFT's model is merged into would be saved by it
    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            prepared = _apply(model, strategy, chosen, seed)
    except InputError as error:
        raise InputError(f"strategy {strategy}: {error}") from error
    vars(prepared)["adaptation"] = {"strategy": strategy, "options": chosen}
    return prepared


def _apply(model: PreTrainedModel, strategy: str, options: dict[str, Any], seed: int) -> PreTrainedModel | PeftModel:
    if strategy == "features":
        freeze(model, 0)
    elif strategy == "frozen":
        freeze(model, **options)
    elif strategy == "bitfit":
        freeze(model, 0)
        biases = [value for name, value in model.named_parameters() if "bias" in name.rpartition(".")[2]]
        if all(value.requires_grad for value in biases):
            raise InputError(f"{anatomy.kind(model)} has no biases apart from its head; take lora, ia3 or features")
        for value in biases:
            value.requires_grad = True
    elif strategy in ("gradual", "discriminative"):
        anatomy.layers(model)
    elif strategy in adapters.PLACES:
        adapters.add(model, "default", strategy, **options, seed=seed)
    elif strategy != "full":
        return adapt(model, strategy, options)
    return model


def freeze(model: PreTrainedModel, trainable_layers: int) -> None:
    """Freeze all but the head and the last `trainable_layers` layers, in place.

    Raises InputError when the model has fewer layers.
    """
    if trainable_layers:
        depths, count = anatomy.depths(model), len(anatomy.layers(model))
        if not 0 < trainable_layers <= count:
            shared = ", shared by all depths" if model.config.get_text_config().num_hidden_layers > count else ""
            raise InputError(
                f"trainable_layers={trainable_layers}: the model has {count} layers{shared}; choose 0 to {count}"
            )
        lowest = count - trainable_layers + 1
        learning = {name for name, depth in depths.items() if depth >= lowest}
    else:
        top = tuple(f"{name}." for name in anatomy.head(model))
        learning = {name for name, _ in model.named_parameters() if name.startswith(top)}
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name in learning


def unfreeze(model: PreTrainedModel, recipe: Recipe, progress: float) -> None:
    """For gradual, let learn what is due after this share of the run (0 to 1); else do nothing.

    The head learns from the start, the layers join it one by one from the top (Howard & Ruder 2018, Universal language
    model fine-tuning for text classification, ACL), the embeddings last, at the share `until`.
    """
    if recipe.strategy != "gradual":
        return
    until = settings(recipe.strategy, recipe.options)["until"]
    depths = anatomy.depths(model)
    top = max(depths.values())
    lowest = top - int(min(progress / until, 1) * top + 1e-9)  # above what floating point loses of n steps
    for name, parameter in model.named_parameters():
        parameter.requires_grad = depths[name] >= lowest


def rates(model: PreTrainedModel, recipe: Recipe) -> dict[str, float]:
    """For discriminative, each parameter's factor on the learning rate, by name; else {}.

    1 for the head, `decay` for the last layer, its square for the one below, and so on down to the embeddings (Howard &
    Ruder 2018, who divide by 2.6 from layer to layer of three).
    """
    if recipe.strategy != "discriminative":
        return {}
    decay, depths = settings(recipe.strategy, recipe.options)["decay"], anatomy.depths(model)
    top = max(depths.values())
    return {name: decay ** (top - depth) for name, depth in depths.items()}


def longest(model: PreTrainedModel | PeftModel) -> int | None:
    """How many tokens a pair may have: the backbone's positions less the virtual tokens; None where it has no limit."""
    from peft import PeftModel

    base: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    limit, config = anatomy.longest(base), getattr(model, "active_peft_config", None)
    return limit and limit - getattr(config, "num_virtual_tokens", 0)


def count(model: nn.Module) -> tuple[int, int]:
    """How many parameters are trainable now, and how many there are (PEFT's copy of the untrained head not counted)."""
    named = [(name, value) for name, value in model.named_parameters() if ".original_module." not in name]
    return sum(v.numel() for _, v in named if v.requires_grad), sum(v.numel() for _, v in named)


def size_on_disk(model: PreTrainedModel | PeftModel) -> int:
    """Bytes of the weights that `save` would write."""
    return sum(value.numel() * value.element_size() for value in _weights(model).values())


def save(model: PreTrainedModel | PeftModel, folder: str | Path) -> None:
    """Write a prepared model into a folder, all of it or nothing.

    That is the whole model, as `save_pretrained` does it, or, by strategy, only what was learnt (adapter_config.json
    and adapter_model.safetensors). A folder with a model is replaced. Raises InputError when it holds something else.
    """
    from peft import PeftModel

    folder = Path(folder)
    if folder.exists() and not (folder / "config.json").exists() and not (folder / adapters.CONFIG).exists():
        if not folder.is_dir() or any(folder.iterdir()):
            raise InputError(f"{folder}: is there and holds no model; give a new or an empty folder")
    part, old = (folder.with_name(f"{folder.name}.{os.getpid()}.{suffix}") for suffix in ("part", "old"))
    try:
        if isinstance(model, PeftModel):
            model.save_pretrained(str(part), save_embedding_layers=False)
        elif _is_small(model):
            adapters.save(model, part)
        else:
            model.save_pretrained(str(part))
        if folder.exists():
            os.replace(folder, old)
        os.replace(part, folder)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def load(folder: str | Path, backbone: PreTrainedModel | None = None) -> PreTrainedModel | PeftModel:
    """What `save` wrote; where that is not a whole model, on a fresh backbone, in place.

    backbone: the classifier, not yet prepared, that the strategy was applied to; None loads the one that the folder
    names. PEFT's strategies come back for use, not for further training. Raises InputError when there is no model in
    the folder, or it does not fit the backbone.
    """
    from peft import PeftModel
    from safetensors import SafetensorError
    from transformers import AutoModelForSequenceClassification

    from cift import mann, models, nse  # noqa: F401  # so that transformers knows their saved models

    folder = Path(folder)
    if not (folder / adapters.CONFIG).exists():
        try:
            return AutoModelForSequenceClassification.from_pretrained(folder, use_safetensors=True)
        except (OSError, ValueError, SafetensorError) as error:
            raise InputError(
                f"{folder}: cannot be loaded ({str(error).splitlines()[0]}); give a saved model"
            ) from error
    config = adapters.read(folder)
    if not (folder / adapters.WEIGHTS).exists():  # PEFT would go on to look for a pickle
        raise InputError(f"{folder}: has no {adapters.WEIGHTS}; give a folder that strategies.save wrote")
    if backbone is None:
        if not (name := config.get("base_model_name_or_path")):
            raise InputError(f"{folder}: does not name its backbone; give it, loaded")
        backbone, _ = models.load(name)
    if "strategy" in config:
        model = prepare(backbone, config["strategy"], config["options"])
        adapters.fill(model, folder)
        return model
    try:
        return PeftModel.from_pretrained(backbone, str(folder))
    except (RuntimeError, ValueError, SafetensorError) as error:
        raise InputError(
            f"{folder}: does not fit {anatomy.kind(backbone)} ({str(error).splitlines()[0]}); "
            "load it onto the backbone, with as many labels, that it was learnt on"
        ) from error


def _is_small(model: nn.Module) -> bool:
    strategy = vars(model).get("adaptation", {}).get("strategy", "full")
    return not STRATEGIES[strategy].whole


def _weights(model: PreTrainedModel | PeftModel) -> dict[str, Tensor]:
    from peft import PeftModel, get_peft_model_state_dict

    if isinstance(model, PeftModel):
        return get_peft_model_state_dict(model, save_embedding_layers=False)
    return adapters.learnt(model) if _is_small(model) else dict(model.named_parameters())
