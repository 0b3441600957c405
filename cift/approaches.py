"""Four ways from labelled pairs to a classifier, in one form: similarity, retrieval, prompting, fine-tuning.

Each takes what it learns from and returns a function from a corpus to its predictions table, so that all
can be measured alike: accuracy, seconds to train, latency and memory as the number of labelled pairs grows.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cift.errors import InputError
from cift.files import write_text

if TYPE_CHECKING:
    from datasets import Dataset

Answer = Callable[["Dataset"], pd.DataFrame]

SIZES = (0, 8, 64, 512, 4096)  # labelled pairs
STEPS = 128  # a fine-tuning on few pairs repeats them until it has taken so many steps
SHOTS = 8


def similarity(unlabelled: Dataset, model: str = "minilm") -> Answer:
    """Zero-shot: the more similar its two sentences, the more a pair is taken to be an entailment.

    No label is used. Where the similarity of a pair ranks among those of the unlabelled pairs decides:
    with three labels the upper third is entailment, the lower third contradiction, which assumes that the
    labels are equally frequent and ordered so.

    Similarity is the cosine of the sentences' embeddings (`cift.embeddings.embed`).
    """
    known = np.sort(_cosine(unlabelled, model))

    def answer(corpus: Dataset) -> pd.DataFrame:
        names = corpus.features["label"].names
        rank = np.searchsorted(known, _cosine(corpus, model)) / len(known)
        centres = 1 - (np.arange(len(names)) + 0.5) / len(names)
        return table(corpus, -10 * (rank[:, None] - centres) ** 2)

    return answer


def retrieval(examples: Dataset, model: str = "minilm", k: int = 15) -> Answer:
    """Retrieval-augmented: the k labelled pairs nearest to a pair vote, no weight is changed.

    Pairs are near where the *difference* between their sentences' embeddings is: what the hypothesis
    changes, not what both are about. Logits are the log shares of votes, with one vote shared by all labels.

    Raises InputError when there are no examples.
    """
    found = neighbours(examples, model)
    labels = np.array(examples["label"][:])

    def answer(corpus: Dataset) -> pd.DataFrame:
        names = corpus.features["label"].names
        voters = labels[found(corpus, min(k, len(labels)))]
        votes = (voters[:, :, None] == np.arange(len(names))).sum(axis=1) + 1 / len(names)
        return table(corpus, np.log(votes / votes.sum(axis=1, keepdims=True)))

    return answer


def fine_tuning(examples: Dataset, model: str = "minilm", seed: int = 0) -> Answer:
    """All weights of the encoder, and a new head on it, learn from the examples (loss CCE).

    At least `STEPS` steps are taken, and two epochs. Raises InputError when there are no examples.
    """
    from cift import finetuning

    batch = min(16, max(len(examples), 1))
    epochs = max(2, math.ceil(STEPS * batch / max(len(examples), 1)))
    recipe = finetuning.Recipe(epochs=epochs, batch_size=batch, learning_rate=1e-4)
    classifier, tokenizer, _ = finetuning.fine_tune(examples, recipe, seed, model)

    def answer(corpus: Dataset) -> pd.DataFrame:
        return finetuning.predict(classifier, finetuning.encode(corpus, tokenizer), corpus)

    return answer


def prompting(examples: Dataset, model: str, shots: int = SHOTS, retriever: str = "minilm") -> Answer:
    """A causal language model is asked in words; its logit for a label is the log-probability of the label's name.

    model: a hub id or folder; its chat template is used where it has one.
    examples: the nearest `shots` of them stand before the question, answered, the nearest last (in-context
    learning with retrieval: Liu et al. 2022, DeeLIO); an empty corpus asks without any.
    """
    import torch

    from cift.finetuning import device

    writer, tokenizer = _causal(model)
    found = neighbours(examples, retriever) if len(examples) else None

    def answer(corpus: Dataset) -> pd.DataFrame:
        names = corpus.features["label"].names
        nearest = found(corpus, min(shots, len(examples)))[:, ::-1] if found else [()] * len(corpus)
        logits = np.empty((len(corpus), len(names)))
        with torch.inference_mode():
            for i, (pair, near) in enumerate(zip(corpus, nearest, strict=True)):
                words = prompt(pair, names, [examples[int(j)] for j in near], tokenizer)
                logits[i] = _log_probabilities(writer, tokenizer, words, names, device())
        return table(corpus, logits)

    return answer


def table(corpus: Dataset, logits: np.ndarray) -> pd.DataFrame:
    """Predictions table of a corpus: item_id, label, one logit column per label, predicted."""
    names = corpus.features["label"].names
    known = pd.DataFrame({"item_id": corpus["item_id"][:], "label": [names[i] for i in corpus["label"][:]]})
    columns = pd.DataFrame(logits, columns=[f"logit_{name}" for name in names])
    return pd.concat([known, columns], axis=1).assign(predicted=[names[i] for i in logits.argmax(axis=1)])


def neighbours(examples: Dataset, model: str = "minilm") -> Callable[[Dataset, int], np.ndarray]:
    """A search for the k nearest examples: (corpus, k) -> positions in `examples`, (pairs, k), nearest first."""
    if not len(examples):
        raise InputError("retrieval: there are no labelled examples to look among; give at least one")
    from sklearn.neighbors import NearestNeighbors

    index = NearestNeighbors(metric="cosine").fit(_difference(examples, model))
    return lambda corpus, k: index.kneighbors(_difference(corpus, model), k, return_distance=False)


def _sides(corpus: Dataset, model: str) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of the premises and of the hypotheses."""
    from cift.embeddings import embed

    both = embed(corpus["premise"][:] + corpus["hypothesis"][:], model)
    return both[: len(corpus)], both[len(corpus) :]


def _cosine(corpus: Dataset, model: str) -> np.ndarray:
    premise, hypothesis = _sides(corpus, model)
    return (premise * hypothesis).sum(axis=1)


def _difference(corpus: Dataset, model: str) -> np.ndarray:
    premise, hypothesis = _sides(corpus, model)
    return hypothesis - premise


# prompting


def _causal(name: str) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    from cift.finetuning import device, has_bf16

    logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
        dtype = torch.bfloat16 if has_bf16() else torch.float32
        writer: Any = AutoModelForCausalLM.from_pretrained(name, use_safetensors=True, dtype=dtype)
    except (OSError, ValueError) as error:
        raise InputError(
            f"model {name!r}: cannot be loaded as a causal language model ({str(error).splitlines()[0]}); "
            "give a folder with safetensors weights, or a hub id that this machine can reach"
        ) from error
    return writer.to(device()).eval(), tokenizer


def prompt(pair: dict, names: Sequence[str], shots: Sequence[dict] = (), tokenizer: Any = None) -> str:
    """The words that ask for a pair's label, after answered examples; in the tokenizer's chat form if it has one."""
    task = (
        "Does the hypothesis follow from the premise? Answer with one of these words: "
        f"{', '.join(names)}. Entailment: it is surely true. Contradiction: it is surely false."
    )

    def question(each: dict) -> str:
        return f"Premise: {each['premise']}\nHypothesis: {each['hypothesis']}\nAnswer:"

    if tokenizer is None or not tokenizer.chat_template:
        answered = "".join(f"{question(each)} {names[each['label']]}\n\n" for each in shots)
        return f"{task}\n\n{answered}{question(pair)}"
    turns = []
    for each in shots:
        turns.append({"role": "user", "content": f"{task}\n\n{question(each)}"})
        turns.append({"role": "assistant", "content": names[each["label"]]})
    turns.append({"role": "user", "content": f"{task}\n\n{question(pair)}"})
    return tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)


def _log_probabilities(writer: Any, tokenizer: Any, words: str, names: Sequence[str], where: Any) -> np.ndarray:
    """Mean log-probability of a token of each label's name after the words."""
    import torch

    start = tokenizer(words, add_special_tokens=not tokenizer.chat_template)["input_ids"]
    scores = []
    for name in names:
        ending = tokenizer(name if tokenizer.chat_template else f" {name}", add_special_tokens=False)["input_ids"]
        logits = writer(torch.tensor([start + ending], device=where)).logits[0, len(start) - 1 : -1].float()
        scores.append(logits.log_softmax(-1)[range(len(ending)), ending].mean().item())
    return np.array(scores)


# measuring


def measure(approach: str, corpus: str, n: int, seed: int, model: str = "minilm", test_pairs: int = 1000) -> dict:
    """One approach with n labelled pairs of a corpus, in a process of its own, so that memory is its own.

    approach: similarity (n is 0), retrieval, fine-tuning or prompting. The n pairs are a random sample of the
    train split, the same for every approach; accuracy is that on the first `test_pairs` pairs of the test split.

    Returns approach, corpus, model, n, seed, accuracy, train_seconds (getting ready: embedding the examples, or
    training), latency_ms (median time to answer one pair alone), pairs_per_second (all test pairs at once) and
    memory_mb (the process's peak, about 600 of which are Python with torch).
    """
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
        return alone.submit(_measured, approach, corpus, n, seed, model, test_pairs).result()


def _measured(approach: str, corpus: str, n: int, seed: int, model: str, test_pairs: int) -> dict:
    from cift.corpora import load_corpus
    from cift.evaluation import accuracy
    from cift.records import peak_memory_mb

    pool = load_corpus(corpus, "train").shuffle(seed=seed)
    test = load_corpus(corpus, "test")
    test = test.select(range(min(test_pairs, len(test))))
    examples = pool.select(range(n))
    ways: dict[str, Callable[[], Answer]] = {
        "similarity": lambda: similarity(pool.select(range(300)), model),
        "retrieval": lambda: retrieval(examples, model),
        "fine-tuning": lambda: fine_tuning(examples, model, seed),
        "prompting": lambda: prompting(examples, model),
    }
    if approach not in ways:
        raise InputError(f"approach {approach!r}: unknown; choose from {', '.join(ways)}")
    start = time.perf_counter()
    answer = ways[approach]()
    ready = time.perf_counter()
    predictions = answer(test)
    done = time.perf_counter()
    alone = []
    for i in range(min(20, len(test))):
        before = time.perf_counter()
        answer(test.select([i]))
        alone.append(time.perf_counter() - before)
    return {
        "approach": approach,
        "corpus": corpus,
        "model": model,
        "n": n,
        "seed": seed,
        "accuracy": accuracy(predictions),
        "train_seconds": ready - start,
        "latency_ms": 1000 * float(np.median(alone)),
        "pairs_per_second": len(test) / (done - ready),
        "memory_mb": peak_memory_mb(),
    }


def study(corpora: Sequence[str], seeds: Sequence[int], instruct: str | None = None) -> dict[str, Any]:
    """Every approach at every size of `SIZES`, on each corpus and seed.

    Returns {"run": provenance, "results": one dict a cell, as `measure` gives it}.

    instruct: hub id or folder of an instruct model to prompt; without it prompting is left out. Finished cells are
    kept in the cache, so that an interrupted run goes on where it was.
    """
    from tqdm.auto import tqdm

    from cift.corpora import load_corpus
    from cift.finetuning import MADE_BY, quiet
    from cift.records import code, digest, fingerprint, once, provenance, software

    cells = [
        (approach, corpus, n, seed, instruct if approach == "prompting" else "minilm")
        for corpus in corpora
        for seed in seeds
        for n in SIZES
        for approach in ("similarity", "retrieval", "prompting", "fine-tuning")
        if (instruct if approach == "prompting" else (approach == "similarity") == (n == 0))
    ]
    data = {f"{name}, {part}": fingerprint(load_corpus(name, part)) for name in corpora for part in ("train", "test")}
    made_of = (data, software(), code(("approaches", "embeddings", *MADE_BY)))
    results = [
        once("approaches", digest(made_of, cell), partial(measure, *cell))
        for cell in tqdm(cells, desc="approaches", disable=quiet())
    ]
    return {"run": provenance() | {"data": data, "seeds": list(seeds)}, "results": results}


if __name__ == "__main__":
    record = study(("scenes", "snli"), range(3), *sys.argv[2:3])
    write_text(sys.argv[1], json.dumps(record, indent=1) + "\n")
