"""Bottleneck adapters: small trained modules between the frozen ones, several on one backbone, one of them active.

With x the output of a sub-layer (attention or feed-forward, after the projection back to d features, before the
residual is added), an adapter of size m puts in its place

    x + U gelu(D x + b) + c        D: m x d, U: d x m

houlsby (Houlsby et al. 2019, Parameter-efficient transfer learning for NLP, ICML): one after the attention and one
after the feed-forward sub-layer; the layers' norms learn too, as there. pfeiffer (Pfeiffer et al. 2021, AdapterFusion,
EACL): one after the feed-forward sub-layer; the norms stay. In both the head learns. U and c start at 0, so training
starts at the backbone's own function (Houlsby et al. draw them from a narrow normal distribution, to nearly that end).

Each adapter comes with a head and, for houlsby, norms of its own; `activate` puts them in their places. The backbone's
own parameters keep their names and values. What is learnt is saved under the file names that PEFT uses.
"""

from __future__ import annotations

import copy
import json
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cift import anatomy
from cift.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PLACES = {"houlsby": ("attention output", "feedforward output"), "pfeiffer": ("feedforward output",)}


def add(model: PreTrainedModel, name: str, strategy: str = "pfeiffer", size: int = 64, seed: int = 0) -> None:
    """Give the model another adapter, with a copy of the head it came with, and activate it; the seed draws D.

    The rest is frozen. Raises InputError for a name that is taken, and where the model has no place for the adapter.
    """
    import torch

    tasks = vars(model).setdefault("tasks", {})
    if name in tasks:
        raise InputError(f"adapter {name!r}: the model has one of this name; choose another one")
    bare = vars(model).setdefault("bare", {})  # what stands in the places of adapters when none is active
    _put(model, bare)
    found = anatomy.matrices(model)
    missing = [place for place in PLACES[strategy] if not found[place]]
    if missing:
        raise InputError(f"{anatomy.kind(model)} has no linear {missing[0]} for an adapter; take bitfit or full")
    own = anatomy.head(model) + (anatomy.norms(model) if strategy == "houlsby" else [])
    modules = {path: copy.deepcopy(bare.setdefault(path, model.get_submodule(path))) for path in own}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for place in PLACES[strategy]:
            for path in found[place]:
                matrix = model.get_submodule(path)
                if f"{path}.adapter" not in bare:
                    bare[f"{path}.adapter"] = None
                    matrix.register_forward_hook(_adapt)
                modules[f"{path}.adapter"] = _bottleneck(_width(matrix), size)
    model.requires_grad_(False)
    for module in modules.values():
        module.requires_grad_(True)
    tasks[name] = ({"strategy": strategy, "options": {"size": size}}, modules)
    activate(model, name)


def activate(model: PreTrainedModel, name: str) -> None:
    """Put an adapter, with its head and norms, in its places. Raises InputError for a name that is not there."""
    tasks = vars(model).get("tasks", {})
    if name not in tasks:
        raise InputError(f"adapter {name!r}: the model has {', '.join(tasks) or 'none'}; add or load it first")
    about, modules = tasks[name]
    _put(model, vars(model)["bare"] | modules)
    vars(model)["adaptation"] = about


def save(model: PreTrainedModel, folder: Path) -> None:
    """Write the trained parameters and the config of a prepared model into a folder (atomically: `strategies.save`)."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    place = {"base_model_name_or_path": model.config._name_or_path, "task_type": "SEQ_CLS"}
    save_file({name: value.contiguous() for name, value in learnt(model).items()}, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(vars(model)["adaptation"] | place, indent=2), encoding="utf-8")


def load(model: PreTrainedModel, folder: str | Path, name: str) -> None:
    """Give the model a saved bottleneck adapter under a name, and activate it.

    Raises InputError when the folder does not hold one, or holds one that was learnt on another kind of backbone; then
    the model does not have it, and no adapter is active.
    """
    config = read(folder)
    if config.get("strategy") not in PLACES:
        raise InputError(f"{folder}: holds no bottleneck adapter; use strategies.load")
    add(model, name, config["strategy"], **config["options"])
    try:
        fill(model, folder)
    except InputError:
        _put(model, vars(model)["bare"])
        del vars(model)["tasks"][name], vars(model)["adaptation"]
        raise


def learnt(model: nn.Module) -> dict[str, Tensor]:
    """The trainable parameters by name."""
    return {name: value.detach() for name, value in model.named_parameters() if value.requires_grad}


def read(folder: str | Path) -> dict[str, Any]:
    """A folder's config. Raises InputError where there is none."""
    try:
        config = json.loads((Path(folder) / CONFIG).read_text(encoding="utf-8"))
        if not ({"strategy", "options"} <= config.keys() or "peft_type" in config):
            raise ValueError
        return config
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"{folder}: has no readable {CONFIG}; give a folder that strategies.save wrote") from error


def fill(model: nn.Module, folder: str | Path) -> None:
    """Set the trainable parameters to a folder's. Raises InputError where they are not there, or not the same ones."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        values, places = load_file(Path(folder) / WEIGHTS), learnt(model)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{folder}: has no readable {WEIGHTS}; give a folder that strategies.save wrote") from error
    shapes, wanted = ({name: tuple(v.shape) for name, v in which.items()} for which in (values, places))
    if shapes != wanted:
        name = min(dict(shapes.items() ^ wanted.items()))
        raise InputError(
            f"{folder}: {name} is {shapes.get(name, 'missing')} there and {wanted.get(name, 'missing')} in the model; "
            "load it onto the backbone, with as many labels, that it was learnt on"
        )
    with torch.no_grad():
        for name, value in values.items():
            places[name].copy_(value)


def _put(model: PreTrainedModel, modules: Mapping[str, nn.Module | None]) -> None:
    for path, module in modules.items():
        parent, _, child = path.rpartition(".")
        setattr(model.get_submodule(parent), child, module and module.to(model.device).train(model.training))


def _bottleneck(width: int, size: int) -> nn.Sequential:
    from torch import nn

    up = nn.Linear(size, width)
    nn.init.zeros_(up.weight)
    nn.init.zeros_(up.bias)
    return nn.Sequential(OrderedDict(down=nn.Linear(width, size), gelu=nn.GELU(), up=up))


def _width(matrix: Any) -> int:
    """How many features a Linear or a Conv1D gives."""
    return getattr(matrix, "out_features", None) or matrix.nf


def _adapt(matrix: Any, inputs: tuple, output: Tensor) -> Tensor:
    return output if matrix.adapter is None else output + matrix.adapter(output)
