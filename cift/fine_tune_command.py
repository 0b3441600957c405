"""What `cift fine-tune` does: one run, from files to a folder.

`accelerate launch` starts it in several processes: each trains on its part of every batch, and the first one writes.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cift import evaluation, finetuning, models, strategies
from cift.corpora import load_corpus
from cift.errors import InputError
from cift.files import read_text, write_text
from cift.recipe import Recipe
from cift.records import code, digest, fingerprint, peak_memory_mb, provenance, software

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import nn


def fine_tune(
    train: str,
    out: Path,
    validation: str | None = None,
    test: str | None = None,
    model: str = "minilm",
    recipe: Sequence[str] = (),
    seed: int = 0,
) -> str:
    """Fine-tune a model on a corpus; returns what to say: nothing, but in the first process.

    train, validation, test: as `read_source` takes them. recipe: as `read_recipe` takes it.

    Then `out` holds model/, record.json (provenance, data, recipe, cost, accuracies, learning curve),
    learning-curve.png and .svg, and predictions of the validation and test data, if given, as validation.csv and
    test.csv. A run that was stopped goes on from its last checkpoint; one that is finished is not run again.

    Raises InputError for bad data, recipe, model or launch, and when `out` holds another run.
    """
    from accelerate import PartialState

    from cift import plots, plots_training

    settings = read_recipe(recipe)
    check_launch(settings)
    state = PartialState(cpu=finetuning.device().type == "cpu")
    given = {"train": train, "validation": validation, "test": test}
    with state.main_process_first():  # it downloads for all
        corpora = {name: read_source(text) for name, text in given.items() if text}
        weights = models.fingerprint(model)
    _check_labels(corpora)
    what = {
        "corpora": {name: given[name] for name in corpora},
        "pairs": {name: len(corpus) for name, corpus in corpora.items()},
        "data": {name: fingerprint(corpus) for name, corpus in corpora.items()},
        "model": model,
        "recipe": asdict(settings),
        "seed": seed,
        "processes": state.num_processes,
    }
    key = digest(what, weights, software(), code((*finetuning.MADE_BY, "fine_tune_command")))
    record, unfinished = out / "record.json", out / f"unfinished-{key}"
    if record.exists():
        if key not in read_text(record):
            raise InputError(f"--out {out}: holds a run of other data, settings or versions; choose another folder")
        return f"finished  already: {record}" if state.is_main_process else ""
    tuned, tokenizer, cost = finetuning.fine_tune(
        corpora["train"], settings, seed, model, validation=corpora.get("validation"), folder=unfinished
    )
    gathered = _gathered(tuned)
    if not state.is_main_process:
        return ""
    if gathered:
        tuned = models.load(model, corpora["train"].features["label"].names)[0]
        tuned.load_state_dict(gathered)
    results = {}
    for name, corpus in list(corpora.items())[1:]:
        rows = finetuning.encode(corpus, tokenizer, settings.max_length)
        answers = finetuning.predict(tuned, rows, corpus)
        write_text(out / f"{name}.csv", answers.to_csv(index=False))
        results[name] = {"accuracy": evaluation.accuracy(answers)}
    strategies.save(tuned, out / "model")
    tokenizer.save_pretrained(out / "model")
    history = cost.pop("history")
    figure: Any = plots_training.learning_curve(history).figure
    plots.save(figure, out / "learning-curve")
    run = provenance() | what | cost | {"peak_memory_mb": peak_memory_mb()}
    write_text(record, json.dumps({"id": key, "run": run, "results": results, "history": history}, indent=1) + "\n")
    shutil.rmtree(unfinished, ignore_errors=True)
    return _in_words(run, results, out)


def read_recipe(settings: Sequence[str]) -> Recipe:
    """A recipe of JSON files and `name=value` pairs, the later before the earlier ones, and defaults for the rest.

    The learning rate's default is the strategy's own. A file holds an object of settings; a value is JSON or, if it is
    not, text: `epochs=3`, `loss=mse`, `options={"rank":8}`. Raises InputError for what is neither, and as `Recipe`.
    """
    found: dict[str, Any] = {}
    for text in settings:
        name, sign, value = text.partition("=")
        found |= {name: _json_or_text(value)} if sign else _read_settings(Path(text))
    known = [field.name for field in fields(Recipe)]
    if unknown := [name for name in found if name not in known]:
        raise InputError(f"--recipe: there is no setting {', '.join(unknown)}; choose from {', '.join(known)}")
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}
    return Recipe(**values)


def read_source(text: str) -> Dataset:
    """A corpus as `corpora.load_corpus` takes it: name, file, folder or hub id; where it has splits, with "@SPLIT"."""
    source, sign, split = text.rpartition("@")
    return load_corpus(source, split) if sign and not Path(text).exists() else load_corpus(text)


def check_launch(recipe: Recipe) -> None:
    """Raise InputError for what `accelerate launch` was told, but would not be done, or not as the recipe says."""
    if os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true":
        if finetuning.device().type == "cpu":
            raise InputError("FSDP spreads a model over GPUs, and there is none; launch without an FSDP configuration")
        if recipe.strategy != "full" or recipe.patience is not None:
            raise InputError(
                f"FSDP: works with strategy full and without patience, not with {recipe.strategy} and "
                f"patience {recipe.patience}; change the recipe, or launch without an FSDP configuration"
            )
    precision = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if precision != "no":
        raise InputError(f"accelerate: mixed_precision is {precision}; set it to no, the recipe's precision decides")


def _read_settings(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"--recipe {path}: neither name=value nor a file of settings")
    try:
        found = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise InputError(f"--recipe {path}: not JSON ({error})") from error
    if not isinstance(found, dict):
        raise InputError(f"--recipe {path}: not a JSON object of settings")
    return found


def _json_or_text(value: str) -> Any:
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value


def _check_labels(corpora: dict[str, Dataset]) -> None:
    labels = {name: corpus.features["label"].names for name, corpus in corpora.items()}
    for name, found in labels.items():
        if found != labels["train"]:
            raise InputError(
                f"--{name}: its labels are {', '.join(found)}, those of the training data {', '.join(labels['train'])}"
            )


def _gathered(model: nn.Module) -> dict[str, Any]:
    """All weights of a model that FSDP has spread over processes, for the first of them; nothing of another model."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
    from torch.distributed.fsdp import FSDPModule

    whole = StateDictOptions(full_state_dict=True, cpu_offload=True)
    return get_model_state_dict(model, options=whole) if isinstance(model, FSDPModule) else {}


def _in_words(run: dict[str, Any], results: dict[str, dict[str, float]], out: Path) -> str:
    together = f" by {run['processes']} processes" if run["processes"] > 1 else ""
    lines = [
        f"trained   {run['model']}, {run['recipe']['strategy']}: {run['trainable']:,} of {run['total']:,} parameters",
        f"took      {run['train_seconds']:.0f} s, {run['steps']:,} steps on {run['pairs']['train']:,} pairs{together}",
    ]
    lines += [f"accuracy  {results[name]['accuracy']:.3f} on {name}" for name in run["pairs"] if name in results]
    return "\n".join([*lines, f"folder    {out} (model, record.json, predictions, learning curve)"])
