"""A study of what helps against overfitting, what a search finds for its cost, and what fine-tuning makes forget.

`python -m cift.remedies results/remedies.json` makes the record that notebook 09 shows; `table` and `curves` read it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cift.evaluation import accuracy, paired_difference, probabilities
from cift.files import write_text
from cift.recipe import Recipe

if TYPE_CHECKING:
    from datasets import Dataset

PAIRS = 200  # to learn from, and as many to validate on
TEST_PAIRS = 1000

BARE = Recipe(epochs=8, batch_size=16, learning_rate=1e-4, schedule="constant", warmup=0.0, weight_decay=0.0,
              dropout=0.0, clip=None)  # fmt: skip
REMEDIES: dict[str, dict[str, Any]] = {  # name: what it changes in the bare recipe
    "none": {},
    "dropout": {"dropout": 0.2},
    "L2": {"weight_decay": 10.0},
    "L1": {"l1": 1e-5},
    "early stopping": {"patience": 2},
    "schedule": {"schedule": "linear", "warmup": 0.1},
    "label smoothing": {"label_smoothing": 0.1},
    "clipping": {"clip": 1.0},
    "fewer parameters": {"strategy": "frozen", "options": {"trainable_layers": 2}},
}
REMEDIES["all together"] = {name: value for changes in REMEDIES.values() for name, value in changes.items()}

TRIALS = 10  # of a search
LESSON = Recipe(epochs=3, batch_size=16, learning_rate=1e-4)  # the new task of `forgetting`
LESSON_PAIRS = 1000
WAYS: dict[str, dict[str, Any] | None] = {  # to learn the new task: what each changes in `LESSON`
    "not at all": None,
    "full": {},
    "full, a fifth of the rate": {"learning_rate": 2e-5},
    "discriminative": {"strategy": "discriminative"},
    "frozen": {"strategy": "frozen", "options": {"trainable_layers": 2}},
    "LoRA": {"strategy": "lora", "learning_rate": None},
    "features": {"strategy": "features", "learning_rate": None},
    "replay": {},
}
DEFAULT = Recipe(epochs=4, batch_size=16)  # what `searched` tries to better
SPACE: dict[str, tuple | list] = {
    "learning_rate": (1e-5, 1e-3, "log"),
    "batch_size": [8, 16, 32],
    "dropout": (0.0, 0.3),
    "weight_decay": (1e-3, 1.0, "log"),
    "label_smoothing": (0.0, 0.2),
}
SEARCHES = ("default", "rate finder", "best of seeds", "search")
MADE_BY = ("embeddings", "evaluation", "forgetting", "remedies", "search")  # besides what `fine_tune` is made by
BASELINES = {"remedies": "none", "search": "default", "forgetting": "full"}  # part of the record: its reference


# the cells of the study


def remedied(corpus: str, remedy: str, seed: int) -> dict[str, Any]:
    """Fine-tune MiniLM on `PAIRS` pairs of a corpus with a remedy of `REMEDIES`, validated after each epoch.

    Returns curve (a dict an epoch: epoch, mean loss and gradient_norm of its batches, validation_loss and
    validation_accuracy after it), epochs (until it stopped), best_validation_loss, last_validation_loss, train_,
    validation_ and test_ loss and accuracy of the model that comes out (after early stopping the best one seen),
    trainable parameters and seconds. Losses are CCE, in nats; loss in the curve is what was minimised.
    """
    from cift.finetuning import fine_tune

    lesson, validation, test = _parts(corpus, seed, PAIRS)
    recipe = replace(BARE, **REMEDIES[remedy])
    classifier, tokenizer, cost = fine_tune(lesson, recipe, seed, validation=validation, progress=False)
    curve = by_epoch(cost["history"])
    return {
        "curve": curve.round(4).to_dict("records"),
        "epochs": len(curve),
        "best_validation_loss": curve["validation_loss"].min(),
        "last_validation_loss": curve["validation_loss"].iloc[-1],
        **_answers("train", lesson, classifier, tokenizer),
        **_answers("validation", validation, classifier, tokenizer),
        **_answers("test", test, classifier, tokenizer),
        "trainable": cost["trainable"],
        "seconds": cost["train_seconds"] + cost["cache_seconds"],
    }


def searched(corpus: str, how: str, seed: int) -> dict[str, Any]:
    """Fine-tune MiniLM on `PAIRS` pairs with settings found in a way of `SEARCHES`.

    default: `DEFAULT` as it is. rate finder: at the rate that `search.find_learning_rate` suggests. best of seeds:
    `TRIALS` seeds, of which the least loss on the validation pairs wins. search: as many trials in `SPACE`, and a
    training with what they found.

    Returns validation_ and test_ loss and accuracy of the model that comes out, chosen (what differs from the default),
    trainings (how many were begun) and seconds for all of it.
    """
    import time

    from cift import models, search
    from cift.finetuning import encode, fine_tune
    from cift.losses import one_hot

    lesson, validation, test = _parts(corpus, seed, PAIRS)
    start, before, trainings = time.perf_counter(), 0.0, 1
    chosen: dict[str, Any] = {}
    if how == "rate finder":
        names = lesson.features["label"].names
        fresh, tokenizer = models.load("minilm", names, seed)
        rows, targets = encode(lesson, tokenizer), one_hot(lesson["label"], len(names))
        found = search.find_learning_rate(fresh, rows, targets, DEFAULT, seed)
        chosen = {"learning_rate": search.suggest(found)}
    elif how == "search":
        recipe, trials = search.search(lesson, validation, SPACE, TRIALS, seed=seed, recipe=DEFAULT)
        chosen = {name: getattr(recipe, name) for name in SPACE}
        trainings += len(trials)
        start, before = time.perf_counter(), trials["seconds"].sum()  # of trials of an interrupted search as well
    elif how == "best of seeds":
        trainings = TRIALS
    best: dict[str, Any] = {"validation_loss": np.inf}
    for each in range(TRIALS * seed, TRIALS * (seed + 1)) if how == "best of seeds" else [seed]:
        classifier, tokenizer, _ = fine_tune(lesson, replace(DEFAULT, **chosen), each, progress=False)
        answers = _answers("validation", validation, classifier, tokenizer)
        if answers["validation_loss"] < best["validation_loss"]:
            best, model = answers, classifier
    seconds = time.perf_counter() - start + before
    return {**best, **_answers("test", test, model, tokenizer), "chosen": chosen, "trainings": trainings,
            "seconds": seconds}  # fmt: skip


def forgotten(corpus: str, way: str, seed: int) -> dict[str, Any]:
    """Fine-tune MiniLM on `LESSON_PAIRS` pairs in a way of `WAYS`, and see what it knows of both tasks then.

    Returns reciprocal_rank (`forgetting.reciprocal_rank` of the first `TEST_PAIRS` entailed pairs of SNLI's test split
    without those that repeat a sentence), test_loss and test_accuracy on the corpus, and seconds.
    """
    import time

    from cift import forgetting, models, strategies
    from cift.corpora import load_corpus
    from cift.finetuning import fine_tune

    lesson, _, test = _parts(corpus, seed, LESSON_PAIRS)
    changes = WAYS[way]
    memory = _entailed(load_corpus("snli", "train"), 10 * TEST_PAIRS) if way == "replay" else None
    classifier: Any
    start = time.perf_counter()
    if changes is None:
        classifier, tokenizer = models.load("minilm", lesson.features["label"].names, seed)
    elif memory is not None:
        classifier, tokenizer = forgetting.replay(lesson, memory, LESSON, seed)
    else:
        classifier, tokenizer, _ = fine_tune(lesson, replace(LESSON, **changes), seed, progress=False)
    seconds = time.perf_counter() - start
    if way == "LoRA":
        classifier = strategies.merge(classifier)
    original = _entailed(load_corpus("snli", "test"), TEST_PAIRS)
    return {
        "reciprocal_rank": forgetting.reciprocal_rank(original, (classifier, tokenizer)),
        **_answers("test", test, classifier, tokenizer),
        "seconds": seconds,
    }


def by_epoch(history: Sequence[dict[str, float]]) -> pd.DataFrame:
    """A training run's history (`finetuning.train`) with a row per epoch: epoch, and means or what was seen at its end.

    Means: loss and gradient_norm; at its end: validation_loss and validation_accuracy.
    """
    steps = pd.DataFrame(history)
    epochs = steps.groupby(np.ceil(steps["epoch"] - 1e-6).astype(int))
    return epochs.agg(
        {"loss": "mean", "gradient_norm": "mean", "validation_loss": "last", "validation_accuracy": "last"}
    ).reset_index()


def _parts(corpus: str, seed: int, n: int) -> tuple[Dataset, Dataset, Dataset]:
    """n random training pairs, `PAIRS` random validation pairs, and the first `TEST_PAIRS` test pairs."""
    from cift.corpora import load_corpus

    train, validation = (load_corpus(corpus, part).shuffle(seed=seed) for part in ("train", "validation"))
    test = load_corpus(corpus, "test")
    return train.select(range(n)), validation.select(range(PAIRS)), test.select(range(min(TEST_PAIRS, len(test))))


def _entailed(corpus: Dataset, n: int) -> Dataset:
    """The first n entailed pairs of a corpus of which no two have a sentence in common."""
    pairs = corpus.select_columns(["premise", "hypothesis", "label"]).to_pandas()
    pairs = pairs[pairs["label"] == corpus.features["label"].str2int("entailment")]
    chosen = pairs.drop_duplicates("premise").drop_duplicates("hypothesis").index[:n]
    return corpus.select(chosen)


def _answers(part: str, corpus: Dataset, classifier: Any, tokenizer: Any) -> dict[str, float]:
    """The classifier's accuracy and loss (CCE) on a corpus, as PART_accuracy and PART_loss."""
    from cift.finetuning import encode, predict

    predictions = predict(classifier, encode(corpus, tokenizer), corpus)
    given = probabilities(predictions).to_numpy()[np.arange(len(corpus)), corpus["label"][:]]
    return {f"{part}_accuracy": accuracy(predictions), f"{part}_loss": float(-np.log(given).mean())}


# the study and its record


def study(seeds: Sequence[int] = range(3)) -> dict[str, Any]:
    """All cells: remedies and a search on SNLI, forgetting while learning scenes.

    Returns {"run": provenance, "remedies", "search", "forgetting": a list of dicts each, with arm, corpus, seed and
    what `remedied`, `searched` and `forgotten` return}.

    As many cells as there are cores run side by side, with one thread each. Finished ones are kept in the cache, so
    that an interrupted run goes on where it was.
    """
    import os

    from joblib import Parallel, delayed, parallel_config
    from tqdm.auto import tqdm

    from cift import finetuning
    from cift.corpora import load_corpus
    from cift.doctor import versions
    from cift.records import code, digest, fingerprint, once, provenance, software

    cells = [("search", arm, "snli", seed) for seed in seeds for arm in SEARCHES]  # the longest first
    cells += [("remedies", arm, "snli", seed) for seed in seeds for arm in REMEDIES]
    cells += [("forgetting", arm, "scenes", seed) for seed in seeds for arm in WAYS]
    data = {
        f"{corpus}, {part}": fingerprint(load_corpus(corpus, part))
        for corpus in ("snli", "scenes")
        for part in ("train", "validation", "test")
    }
    made_of = (data, software(), versions()["optuna"], code((*finetuning.MADE_BY, *MADE_BY)))
    with parallel_config("loky", inner_max_num_threads=1):
        running = Parallel(n_jobs=os.cpu_count(), return_as="generator", batch_size=1)(
            delayed(once)("remedies", digest(made_of, *cell), partial(_cell, *cell)) for cell in cells
        )
        results = list(tqdm(running, total=len(cells), desc="cells", disable=finetuning.quiet()))
    made = provenance() | {
        "data": data,
        "pairs": {"remedies": PAIRS, "validation": PAIRS, "test": TEST_PAIRS, "forgetting": LESSON_PAIRS},
        "recipes": {"remedies": asdict(BARE), "search": asdict(DEFAULT), "forgetting": asdict(LESSON)},
    }
    parts = {part: [row for (name, *_), row in zip(cells, results, strict=True) if name == part] for part in BASELINES}
    return {"run": made} | parts


def _cell(part: str, arm: str, corpus: str, seed: int) -> dict[str, Any]:
    measure = {"remedies": remedied, "search": searched, "forgetting": forgotten}[part]
    return {"arm": arm, "corpus": corpus, "seed": seed} | measure(corpus, arm, seed)


def table(record: dict[str, Any], part: str, metrics: Sequence[str]) -> pd.DataFrame:
    """Means over seeds, and differences from the baseline: a row per arm of a part of the record.

    Columns: seeds; for each metric its mean, and METRIC_change with its 95 % interval over seeds, METRIC_low and
    METRIC_high (nan for the part's baseline, see `BASELINES`). Arms share the pairs within a seed, so the differences
    are paired; the intervals speak of the sample of pairs and of the training's randomness.
    """
    cells, rows = pd.DataFrame(record[part]).rename(columns={"corpus": "held_out"}), []
    for arm, of_arm in cells.groupby("arm", sort=False):
        row = {"arm": arm, "seeds": len(of_arm)}
        for metric in metrics:
            found = paired_difference(cells, arm, BASELINES[part], metric)
            numbers = found["difference"], found["low"], found["high"]
            row[metric] = of_arm[metric].mean()
            for name, number in zip(("change", "low", "high"), numbers, strict=True):
                row[f"{metric}_{name}"] = np.nan if arm == BASELINES[part] else number
        rows.append(row)
    return pd.DataFrame(rows).set_index("arm")


def curves(record: dict[str, Any]) -> pd.DataFrame:
    """Learning curves of the part `remedies`, means over seeds, as far as none of them had stopped.

    Columns: arm, epoch and the curves' (see `remedied`).
    """
    cells = pd.DataFrame(record["remedies"]).explode("curve", ignore_index=True)
    points = cells[["arm"]].join(pd.DataFrame(list(cells["curve"])))
    shared = points["epoch"] <= cells.groupby("arm")["epochs"].transform("min")
    return points[shared].groupby(["arm", "epoch"], sort=False, as_index=False).mean()


if __name__ == "__main__":
    write_text(sys.argv[1], json.dumps(study(), indent=1) + "\n")
