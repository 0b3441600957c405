"""More training pairs out of those at hand, and whether their labels survive.

Augmentation copies the label of a pair whose premise or hypothesis it rewrites. For single words natural logic says
which labels that keeps (MacCartney & Manning 2009); beyond that a model that knows the corpus judges, and a reader: the
author's judgements on 50 pairs a method are in data/augmentation. `cift.rewriting` has the offline methods; `seq2seq`
makes one out of any translation or paraphrase model.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cift.corpora import data_dir, load_corpus, to_dataset, without
from cift.errors import InputError
from cift.files import read_table, write_text
from cift.finetuning import MADE_BY
from cift.recipe import Recipe
from cift.rewriting import OFFLINE, RELATIONS, Rewriter, replacements

if TYPE_CHECKING:
    from datasets import Dataset

KEPT = {  # (side, what the new sentence is to the old one): the labels that survive; of the others nothing is known
    ("hypothesis", "same"): {"entailment", "neutral", "contradiction"},
    ("hypothesis", "weaker"): {"entailment"},
    ("hypothesis", "stronger"): {"contradiction"},
    ("premise", "same"): {"entailment", "neutral", "contradiction"},
    ("premise", "weaker"): {"neutral"},
    ("premise", "stronger"): {"entailment", "contradiction"},
}
BASELINE, CONTROL, MORE = "no augmentation", "the same pairs twice", "twice as many pairs"
MEASURED = ("synonym", "careless synonym", "paraphrase", "back-translation")
RECIPE = Recipe(epochs=3, learning_rate=2e-4, warmup=0.2)  # at 3e-4 some runs end at chance
JUDGE = Recipe(epochs=2, learning_rate=1.5e-4, warmup=0.1)


def augment(
    corpus: Dataset,
    method: str,
    side: str = "hypothesis",
    copies: int = 1,
    seed: int = 0,
    generate: Rewriter | None = None,
) -> Dataset:
    """New pairs: those of the corpus with one side rewritten, up to `copies` versions of each, labels copied.

    Columns item_id ("<id>+synonym1", ...), premise, hypothesis, label, source_id, method. Pairs that the method cannot
    change are left out, as are versions that come out equal; `info.description` of the result says how many there are.

    method: synonym, hypernym, hyponym, careless synonym (siblings), paraphrase or back-translation, offline; with
    `generate` (from sentences and a seed to as many sentences, as from `seq2seq`), a name for what that does.

    Raises InputError for an unknown method or side, a generator that gives another number of sentences, and when
    nothing at all could be changed.
    """
    if generate is None and method not in OFFLINE:
        raise InputError(f"augment: no method {method!r} offline; there are {', '.join(OFFLINE)}, or give `generate`")
    if side not in ("premise", "hypothesis"):
        raise InputError(f"augment: side is {side!r}; it must be premise or hypothesis")
    rewrite = generate or OFFLINE[method]
    table = pd.DataFrame({name: corpus[name][:] for name in ("item_id", "premise", "hypothesis")})
    names = corpus.features["label"].names
    table["label"] = [names[i] for i in corpus["label"][:]]
    versions = []
    for copy in range(copies):
        sentences = rewrite(list(table[side]), seed * copies + copy)
        if len(sentences) != len(table):
            raise InputError(f"augment: {method} made {len(sentences)} sentences of {len(table)}; it must make as many")
        suffix = f"+{method.replace(' ', '-')}{copy + 1}"
        new = table.assign(source_id=table["item_id"], method=method, item_id=table["item_id"] + suffix)
        new[side] = [sentence.strip() for sentence in sentences]
        versions.append(new[(new[side] != table[side]) & (new[side] != "")])
    found = pd.concat(versions).drop_duplicates(["source_id", side])
    if found.empty:
        raise InputError(f"augment: {method} changed none of the {len(table)} {side} sentences")
    augmented = to_dataset(found.sort_index(kind="stable"), names, f"augment, {method}")
    changed = found["source_id"].nunique()
    augmented.info.description = f"{method}: {changed} of {len(table)} pairs changed, {len(found)} new pairs"
    return augmented


def seq2seq(*models: str, prefix: str = "", batch_size: int = 32, max_new_tokens: int = 64) -> Rewriter:
    """A rewriter that passes sentences through sequence-to-sequence models, one after the other.

    `seq2seq("Helsinki-NLP/opus-mt-en-de", "Helsinki-NLP/opus-mt-de-en")` translates there and back;
    `seq2seq("some/paraphraser", prefix="paraphrase: ")` rephrases (the prefix is what T5 models ask for). Words are
    sampled from the likeliest 90 % (nucleus sampling, Holtzman et al. 2020), so that each seed gives another version.
    Weights are read from safetensors only. Raises InputError for a model that cannot be had.
    """
    loaded = [_load_seq2seq(name) for name in models]

    def rewrite(sentences: list[str], seed: int) -> list[str]:
        import torch
        from tqdm.auto import tqdm

        from cift.finetuning import device, quiet

        with torch.random.fork_rng(), torch.inference_mode():
            torch.manual_seed(seed)
            sentences = [prefix + sentence for sentence in sentences]
            for name, (model, tokenizer) in zip(models, loaded, strict=True):
                model.to(device()).eval()
                written: list[str] = []
                for start in tqdm(range(0, len(sentences), batch_size), desc=name, disable=quiet()):
                    batch = tokenizer(
                        sentences[start : start + batch_size], return_tensors="pt", padding=True, truncation=True
                    ).to(device())
                    ids = model.generate(
                        input_ids=batch["input_ids"],
                        attention_mask=batch["attention_mask"],
                        do_sample=True,
                        top_p=0.9,
                        top_k=0,
                        num_beams=1,
                        max_new_tokens=max_new_tokens,
                        max_length=None,
                    )
                    written += tokenizer.batch_decode(ids, skip_special_tokens=True)
                sentences = written
        return sentences

    return rewrite


def _load_seq2seq(name: str) -> tuple[Any, Any]:
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        return AutoModelForSeq2SeqLM.from_pretrained(name, use_safetensors=True), AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError, ImportError) as error:
        reason = next(line for line in str(error).splitlines() if line.strip())
        raise InputError(
            f"model {name!r}: cannot be loaded ({reason.strip()}); give a folder with safetensors weights of a "
            "sequence-to-sequence model, or the id of one on the hub that this machine can reach"
        ) from error


# does the label survive?


def natural_logic(augmented: Dataset, corpus: Dataset) -> pd.DataFrame:
    """What replacing a word did to each pair: item_id, label, side, old, new, direction, verdict.

    direction: what the new sentence is to the old one (`cift.rewriting.replacements`). verdict: "kept", "broken" or
    "open", where the words alone do not decide. Methods that do not replace single words are not listed.
    """
    source = corpus.to_pandas().set_index("item_id")
    names = corpus.features["label"].names
    rows = []
    for item in augmented.to_pandas().itertuples():
        if item.method not in RELATIONS:
            continue
        before, label = source.loc[item.source_id], names[item.label]
        side = "premise" if item.premise != before["premise"] else "hypothesis"
        changes = replacements(before[side], RELATIONS[item.method])
        change = next((change for change in changes if change.text == getattr(item, side)), None)
        if change is None:  # a generator of the same name
            continue
        if label in KEPT.get((side, change.direction), ()):
            verdict = "kept"
        else:
            broken = side == "hypothesis" and change.direction == "excluded" and label == "entailment"
            verdict = "broken" if broken else "open"
        rows.append((item.item_id, label, side, change.old, change.new, change.direction, verdict))
    return pd.DataFrame(rows, columns=["item_id", "label", "side", "old", "new", "direction", "verdict"])


def survival(augmented: Dataset, corpus: Dataset, judge: Callable[[Dataset], pd.DataFrame]) -> pd.DataFrame:
    """Do labels survive? By label, and for all: how natural logic and a judge see the new pairs.

    judge: from a corpus to its predictions table, for example `finetuning.predict` with a model that was trained on
    much of the same kind, though not on these pairs. Columns: pairs; kept, broken, open (shares, natural logic; nan
    for methods that do more than replace a word); right_before and right_after (shares of the original and the new
    pairs to which the judge gives the label), same (share to which it gives the same answer before and after).
    """
    wanted = {item: i for i, item in enumerate(corpus["item_id"][:])}
    sources = corpus.select([wanted[item] for item in dict.fromkeys(augmented["source_id"][:])])
    before = judge(sources).set_index("item_id")["predicted"]
    table = judge(augmented)[["item_id", "label", "predicted"]]
    table["before"] = before.loc[augmented["source_id"][:]].to_numpy()
    verdicts = natural_logic(augmented, corpus).set_index("item_id")["verdict"]
    table["verdict"] = table["item_id"].map(verdicts)

    def shares(part: pd.DataFrame) -> pd.Series:
        known = part["verdict"].notna().any()
        logic = {name: (part["verdict"] == name).mean() if known else np.nan for name in ("kept", "broken", "open")}
        right = {
            "right_before": (part["before"] == part["label"]).mean(),
            "right_after": (part["predicted"] == part["label"]).mean(),
            "same": (part["before"] == part["predicted"]).mean(),
        }
        return pd.Series({"pairs": len(part), **logic, **right})

    by_label = {label: shares(table[table["label"] == label]) for label in augmented.features["label"].names}
    return pd.DataFrame({**by_label, "all": shares(table)}).T.astype({"pairs": int})


def judgements() -> pd.DataFrame:
    """The author's judgements: method, item_id (of scenes train), label, premise, before, after, verdict, note.

    verdict: kept, broken (the label no longer holds, or is no longer decided), odd (the sentence is not English).
    """
    return read_table(data_dir() / "augmentation" / "judgements.csv")


# does it help?


def lessons(pool: Dataset, pairs: int, seed: int) -> dict[str, Dataset]:
    """What each arm learns from: by name, drawn from the same `pairs` random pairs of the pool.

    BASELINE has these; CONTROL each of them twice, for as many training steps as the arms with augmentation, which have
    the pairs and one changed hypothesis of each (the pair itself once more, where the method cannot change it); MORE
    has as many further pairs of the pool.
    """
    from datasets import concatenate_datasets

    columns = ["item_id", "premise", "hypothesis", "label"]
    drawn = pool.select(np.random.default_rng(seed).permutation(len(pool))[: 2 * pairs]).select_columns(columns)
    own = drawn.select(range(pairs))
    arms = {BASELINE: own, CONTROL: concatenate_datasets([own, own])}
    for method in MEASURED:
        new = augment(own, method, seed=seed)
        arms[method] = concatenate_datasets([own, new.select_columns(columns), without(own, new["source_id"][:])])
    return arms | {MORE: drawn}


def effect(
    name: str, pool: Dataset, test: Dataset, pairs: int = 500, seeds: Sequence[int] = range(5), model: str = "minilm"
) -> pd.DataFrame:
    """Test accuracy after fine-tuning on the `lessons` of each seed: corpus, arm, seed, n_train, n_new, accuracy, ...

    Within a seed all arms start from the same weights. Finished runs are kept in the ledger (`records.once`), so that
    work which was stopped goes on where it was.
    """
    from tqdm.auto import tqdm

    from cift.finetuning import quiet
    from cift.records import digest, fingerprint, once

    common = [fingerprint(test), *_common(RECIPE, model)]
    rows = []
    for seed in seeds:
        arms = lessons(pool, pairs, seed)
        for arm, lesson in tqdm(arms.items(), desc=f"{name}, seed {seed}", disable=quiet()):
            new = set(lesson["item_id"][:]) - set(arms[BASELINE]["item_id"][:])
            row = {"corpus": name, "arm": arm, "seed": int(seed), "n_train": len(lesson), "n_new": len(new)}
            key = digest(common, fingerprint(lesson), seed)
            rows.append(row | once("augmentation", key, lambda: _learn(lesson, test, seed, model)))  # noqa: B023
    return pd.DataFrame(rows)


def _learn(lesson: Dataset, test: Dataset, seed: int, model: str) -> dict[str, Any]:
    """steps, accuracy, n_test and seconds of one run."""
    from cift.evaluation import accuracy
    from cift.finetuning import encode, predict

    start = time.perf_counter()
    learner, tokenizer, cost = _fine_tune(lesson, RECIPE, seed, model)
    right = accuracy(predict(learner, encode(test, tokenizer), test))
    seconds = round(time.perf_counter() - start, 1)
    return {"steps": cost["steps"], "accuracy": right, "n_test": len(test), "seconds": seconds}


def differences(results: pd.DataFrame, baseline: str = CONTROL) -> pd.DataFrame:
    """Of each corpus and arm: mean accuracy, and its paired difference from one arm with a 95 % interval over seeds."""
    from cift.evaluation import paired_difference

    rows = []
    for corpus, cells in results.assign(held_out="test").groupby("corpus", sort=False):
        for arm, mean in cells.groupby("arm", sort=False)["accuracy"].mean().items():
            difference = paired_difference(cells, str(arm), baseline, "accuracy")
            rows.append({"corpus": corpus, "arm": arm, "accuracy": mean} | difference)
    return pd.DataFrame(rows)


def judged(train: Dataset, corpus: Dataset, model: str = "minilm") -> pd.DataFrame:
    """`survival` of each offline method on a corpus, by a judge fine-tuned on `train`: a row a method and label.

    Column changed: the share of pairs that the method can change. Kept in the ledger, as in `effect`.
    """
    from cift.records import digest, fingerprint, once

    new = {method: augment(corpus, method) for method in OFFLINE}
    data = [fingerprint(part) for part in (train, corpus, *new.values())]

    def compute() -> dict[str, Any]:
        from cift.finetuning import encode, predict

        judge, tokenizer, _ = _fine_tune(train, JUDGE, 0, model)
        tables = []
        for method, changed in new.items():
            table = survival(changed, corpus, lambda part: predict(judge, encode(part, tokenizer), part))
            table = table.rename_axis("label").reset_index()
            tables.append(table.assign(changed=len(changed) / len(corpus), method=method))
        return {"rows": pd.concat(tables).to_dict("records")}

    return pd.DataFrame(once("augmentation", digest(_common(JUDGE, model), data), compute)["rows"])


def _common(recipe: Recipe, model: str) -> list[Any]:
    """What besides data and seed decides the numbers of a run."""
    from cift.records import code, software

    return [asdict(recipe), model, software(), code(MADE_BY)]


def _fine_tune(lesson: Dataset, recipe: Recipe, seed: int, model: str) -> tuple[Any, Any, dict[str, float]]:
    """A fine-tuned model, its tokenizer, and what it cost."""
    from cift import finetuning, models
    from cift.losses import one_hot

    learner, tokenizer = models.load(model)
    targets = one_hot(lesson["label"][:], lesson.features["label"].num_classes)
    cost = finetuning.train(learner, finetuning.encode(lesson, tokenizer), targets, recipe, seed, progress=False)
    return learner, tokenizer, cost


def measure(corpora: Sequence[str] = ("scenes", "snli"), seeds: Sequence[int] = range(5)) -> dict[str, Any]:
    """The record: does augmentation help at 500 training pairs, and do labels survive (scenes test)?

    {"study", "run": provenance, "results": dicts of `effect`, "differences": from CONTROL, "survival": of `judged`}.
    Each corpus is tested on 1,000 pairs of its test split. run.seconds: what all runs of `effect` took.
    """
    from cift.records import fingerprint, provenance

    pools = {name: load_corpus(name, "train") for name in corpora}
    tests = {name: _thousand(load_corpus(name, "test")) for name in corpora}
    results = pd.concat([effect(name, pools[name], tests[name], seeds=seeds) for name in corpora])
    survivals = judged(load_corpus("scenes", "train"), _thousand(load_corpus("scenes", "test")))
    run = provenance() | {
        "model": "minilm",
        "seeds": list(seeds),
        "recipe": asdict(RECIPE),
        "judge_recipe": asdict(JUDGE),
        "data": {name: {"pool": fingerprint(pools[name]), "test": fingerprint(tests[name])} for name in corpora},
        "seconds": round(float(results["seconds"].sum()), 1),
    }
    return {
        "study": "augmentation",
        "run": run,
        "results": results.to_dict("records"),
        "differences": differences(results).to_dict("records"),
        "survival": survivals.astype(object).where(survivals.notna(), None).to_dict("records"),
    }


def _thousand(corpus: Dataset) -> Dataset:
    return corpus.select(np.sort(np.random.default_rng(0).permutation(len(corpus))[:1000]))


if __name__ == "__main__":
    write_text(sys.argv[1], json.dumps(measure(), indent=1) + "\n")
