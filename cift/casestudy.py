"""The protocol: one base model, arms x held-out scales x seeds, a ledger of finished cells, one record.

The base model is trained once and cached under a hash of its data, weights and recipe. Each cell
fine-tunes a copy of it and measures the copy on the held-out scale. A finished cell is a small JSON file in
the ledger, so a run that is stopped anywhere goes on where it was.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from cift import evaluation, features, finetuning, models
from cift.ability import place
from cift.errors import InputError
from cift.fetch import cache_dir
from cift.files import write_text
from cift.finetuning import Row
from cift.losses import one_hot
from cift.records import code, digest, fingerprint, peak_memory_mb, provenance, software
from cift.strategies import prepare, settings
from cift.studies import HeldOut, Study

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BASELINE, CONTROL = "no fine-tuning", "random items, CCE"
ARMS = {  # name: the loss it fine-tunes with
    BASELINE: None,
    CONTROL: "cce",
    "CIFT-CCE": "cce",
    "CIFT-MSE": "mse",
}
METRICS = {  # column of the results: its name in tables and figures
    "theta": "ability θ",
    "accuracy": "held-out accuracy",
    "test_accuracy": "corpus test accuracy",
    "jsd": "distance to people",
}
MEASURING = ("ability", "casestudy", "crowds", "evaluation", "irt")  # modules that decide what a cell's numbers are


def run(study: Study, seeds: Sequence[int] = (0, 1, 2), model: str = "minilm") -> dict[str, Any]:
    """Run a study and return its record: {"study", "run": provenance, "results": one dict a cell}.

    A result has arm, held_out, seed, loss, n_train, theta, theta_se, percentile, at_ceiling, accuracy (on the
    scale's items), n_items, test_accuracy (on the corpus's test set), n_test, jsd (mean Jensen-Shannon
    distance to people's distributions), seconds, id (of its ledger entry).
    """
    from tqdm.auto import tqdm

    start = time.perf_counter()
    data = {"base": fingerprint(study.base), "pool": fingerprint(study.pool), "test": fingerprint(study.test)}
    data |= {f"held out {name}": _scale_fingerprint(study, held) for name, held in study.held_out.items()}
    made_by = (software(), code(finetuning.MADE_BY))
    base_id = digest(data["base"], models.fingerprint(model), asdict(study.base_recipe), *made_by)
    common = (base_id, data["pool"], data["test"], asdict(study.recipe), code(MEASURING))
    cells = [
        (arm, held_out, seed, digest(common, data[f"held out {held_out}"], arm, held_out, seed))
        for arm in ARMS
        for seed in seeds
        for held_out in study.held_out
    ]
    ledger = cache_dir() / "cells"
    missing = [cell for cell in cells if not (ledger / f"{cell[3]}.json").exists()]
    base_cost: dict[str, Any] = {"id": base_id, "cached": True, "seconds": 0.0}
    if missing:
        classifier, tokenizer, base_cost = base_model(study, model, base_id)
        bench = _Bench(study, classifier, tokenizer)
        for arm, held_out, seed, cell_id in tqdm(missing, desc="cells", disable=finetuning.quiet()):
            result = bench.cell(arm, held_out, seed)
            write_text(ledger / f"{cell_id}.json", json.dumps(result | {"id": cell_id}))
    results = [json.loads((ledger / f"{cell[3]}.json").read_text(encoding="utf-8")) for cell in cells]
    results.sort(key=lambda cell: list(study.held_out).index(cell["held_out"]))  # stable: arms and seeds stay in order
    made = provenance() | {
        "model": model,
        "population": study.population,
        "seeds": list(seeds),
        "base": base_cost,
        "base_recipe": asdict(study.base_recipe),
        "recipe": asdict(study.recipe),
        "data": data,
        "cells_from_ledger": len(cells) - len(missing),
        "seconds": round(time.perf_counter() - start, 1),
        "peak_memory_mb": peak_memory_mb(),
    }
    return {"study": study.name, "run": made, "results": results}


def base_model(
    study: Study, model: str, base_id: str
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, dict[str, Any]]:
    """The backbone trained on the study's base corpus: from the cache, else trained (or resumed) and cached."""
    folder = cache_dir() / "base" / base_id
    cost_file = folder / "cost.json"
    if cost_file.exists():
        names = study.base.features["label"].names
        return *models.load(str(folder), names), json.loads(cost_file.read_text()) | {"cached": True}
    start = time.perf_counter()
    unfinished = cache_dir() / "base" / f"{base_id}.unfinished"
    tuned = finetuning.fine_tune(study.base, study.base_recipe, 0, model, folder=unfinished)
    classifier, tokenizer = cast("PreTrainedModel", tuned[0]), tuned[1]
    ready = cache_dir() / "base" / f"{base_id}.{os.getpid()}.part"
    classifier.save_pretrained(ready)
    tokenizer.save_pretrained(ready)
    cost = {"id": base_id, "seconds": round(time.perf_counter() - start, 1)}
    write_text(ready / "cost.json", json.dumps(cost))
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(ready, folder)
    shutil.rmtree(unfinished, ignore_errors=True)
    return classifier, tokenizer, cost | {"cached": False}


class _Bench:
    """What all cells of a study share: the base model, and every item's row, encoded once.

    Where the recipe freezes a prefix, the rows are its cached output, and cells train and run the suffix only.
    """

    def __init__(self, study: Study, classifier: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.study, self.classifier = study, classifier
        self.turn: tuple[str, int] | None = None  # arm and seed of the latest cell,
        self.learnt: dict[tuple[str, ...], tuple[PreTrainedModel, float]] = {}  # and the models of their lessons
        self.rows: dict[str, Row] = {}
        for corpus in (study.pool, study.test, *_crowd_items(study)):
            new = corpus.select([i for i, item in enumerate(corpus["item_id"]) if item not in self.rows])
            rows = finetuning.encode(new, tokenizer, study.recipe.max_length)
            self.rows.update(zip(new["item_id"], rows, strict=True))
        if study.recipe.strategy in finetuning.CUT:
            prefix, self.classifier = features.cut(classifier, **settings(study.recipe.strategy, study.recipe.options))
            bf16 = finetuning.uses_bf16(study.recipe.precision)
            states = features.cache_states(prefix, list(self.rows.values()), bf16)
            self.rows = dict(zip(self.rows, states, strict=True))

    def cell(self, arm: str, held_out: str, seed: int) -> dict[str, Any]:
        """Fine-tune a copy of the base model as the arm says, unless the same lesson was just learnt; measure it."""
        start = time.perf_counter()
        held = self.study.held_out[held_out]
        lesson = self._lesson(arm, held, seed)
        items = tuple(lesson["item_id"]) if lesson else ()
        if self.turn != (arm, seed):
            self.turn, self.learnt = (arm, seed), {}
        if items not in self.learnt:
            self.learnt[items] = self._learn(arm, lesson, seed)
        model, test_accuracy = self.learnt[items]
        on_scale, on_people = (
            finetuning.predict(model, self._rows(corpus), corpus) for corpus in (held.items, held.people)
        )
        found = place(on_scale, held.bank).iloc[0]
        return {
            "arm": arm,
            "held_out": held_out,
            "seed": seed,
            "loss": ARMS[arm],
            "n_train": len(items),
            "theta": float(found["theta"]),
            "theta_se": float(found["theta_se"]),
            "percentile": float(found["percentile"]),
            "at_ceiling": bool(found["at_ceiling"]),
            "accuracy": evaluation.accuracy(on_scale),
            "n_items": len(on_scale),
            "test_accuracy": test_accuracy,
            "n_test": len(self.study.test),
            "jsd": evaluation.distance_to_people(on_people, self.study.distributions),
            "seconds": round(time.perf_counter() - start, 2),
        }

    def _learn(self, arm: str, lesson: Dataset | None, seed: int) -> tuple[PreTrainedModel, float]:
        """A fine-tuned copy of the base model, and its accuracy on the corpus's test set."""
        model: Any = copy.deepcopy(self.classifier)
        loss = ARMS[arm]
        if lesson is not None and loss is not None:
            recipe = replace(self.study.recipe, loss=loss)
            if recipe.strategy not in finetuning.CUT:  # what is frozen is cut off already
                model = prepare(model, recipe.strategy, recipe.options, seed)
            finetuning.train(model, self._rows(lesson), self._targets(arm, lesson), recipe, seed, progress=False)
        on_test = finetuning.predict(model, self._rows(self.study.test), self.study.test)
        return model, evaluation.accuracy(on_test)

    def _lesson(self, arm: str, held: HeldOut, seed: int) -> Dataset | None:
        """What an arm learns from: nothing, the crowd's items, or as many random ones with the same gold labels."""
        if arm == BASELINE:
            return None
        if arm != CONTROL:
            return held.supplement
        pool, rng = self.study.pool, np.random.default_rng(seed)
        chosen: list[int] = []
        for label in range(pool.features["label"].num_classes):
            wanted = held.supplement["label"][:].count(label)
            there = np.flatnonzero(np.array(pool["label"]) == label)
            if len(there) < wanted:
                raise InputError(
                    f"pool: {len(there)} pairs labelled {pool.features['label'].int2str(label)} cannot match the "
                    f"{wanted} of the supplemental set; give more pairs"
                )
            chosen.extend(rng.permutation(there)[:wanted])
        return pool.select(sorted(chosen))

    def _targets(self, arm: str, corpus: Dataset) -> np.ndarray:
        names = corpus.features["label"].names
        if ARMS[arm] == "mse":
            return self.study.distributions.loc[list(corpus["item_id"]), names].to_numpy(np.float32)
        return one_hot(corpus["label"], len(names))

    def _rows(self, corpus: Dataset) -> list[Row]:
        return [self.rows[item] for item in corpus["item_id"]]


def arms_of(results: pd.DataFrame) -> list[str]:
    """The arms that results hold, in the protocol's order."""
    return [arm for arm in ARMS if arm in set(results["arm"])]


def headline(record: dict[str, Any]) -> str:
    """What a record is of, in two lines: study, model, seeds, people; time, memory, machine."""
    run, machine = record["run"], record["run"]["machine"]
    base = "from the cache" if run["base"]["cached"] else f"trained in {run['base']['seconds']:.0f} s"
    memory = f", {run['peak_memory_mb'] / 1024:.1f} GB at most" if run["peak_memory_mb"] else ""
    return (
        f"Study {record['study']}: {run['model']}, seeds {run['seeds'][0]} to {run['seeds'][-1]}; "
        f"ability among {run['population']}\n"
        f"{run['seconds']:.0f} s{memory}, on {machine['name']} "
        f"({machine['device']}, {machine['threads']} threads, {'bf16' if machine['bf16'] else 'float32'}); "
        f"base model {base}, {run['cells_from_ledger']} of {len(record['results'])} cells from the ledger"
    )


def summary(record: dict[str, Any]) -> pd.DataFrame:
    """One readable table of a record: a row per held-out scale, then the means and the paired differences.

    Cells of the scales: theta ± its standard error, and the percentile (P80: 80), averaged over seeds. Below: each
    metric's mean over scales and seeds, and its difference from the base model and from the random control, with a
    95 % interval over seeds (none for one seed).
    """
    results = pd.DataFrame(record["results"])
    arms = arms_of(results)
    mean = results.groupby(["held_out", "arm"])[["theta", "theta_se", "percentile"]].mean()
    rows: list[tuple[str, list[str]]] = []
    for scale in results["held_out"].unique():
        cells = [mean.loc[(scale, arm)] for arm in arms]
        rows.append((scale, [f"{c['theta']:+.2f} ± {c['theta_se']:.2f}  P{c['percentile']:.0f}" for c in cells]))
    for metric, label in METRICS.items():
        rows.append((label, [f"{results.loc[results['arm'] == arm, metric].mean():.3f}" for arm in arms]))
        for words, other in (("  less no fine-tuning", BASELINE), ("  less random items", CONTROL)):
            later = arms[arms.index(other) + 1 :]
            changes = [in_words(evaluation.paired_difference(results, arm, other, metric)) for arm in later]
            rows.append((words, [""] * (len(arms) - len(later)) + changes))
    return pd.DataFrame([cells for _, cells in rows], index=[name for name, _ in rows], columns=arms)


def in_words(found: dict[str, float]) -> str:
    """A paired difference with its interval, if it has one: "+0.12 [+0.02, +0.22]"."""
    interval = "" if np.isnan(found["low"]) else f" [{found['low']:+.3f}, {found['high']:+.3f}]"
    return f"{found['difference']:+.3f}{interval}"


def _scale_fingerprint(study: Study, held: HeldOut) -> str:
    parts = [fingerprint(corpus) for corpus in (held.items, held.supplement, held.people)]
    crowd = study.distributions.loc[[*held.supplement["item_id"], *held.people["item_id"]]]
    return digest(parts, crowd.to_csv(float_format="%.9g"), held.bank.items.round(6).to_csv(index=False))


def _crowd_items(study: Study) -> Iterator[Dataset]:
    for held in study.held_out.values():
        yield from (held.items, held.supplement, held.people)
