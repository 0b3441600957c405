"""One timed run, alone in its process: told what to do as JSON, it tells what it found as JSON.

Called by finetuning.py:

python finetuning_runs.py '{"part": "nse", "engine": "cift fp32", "pairs": 512, "seed": 0}'

Seconds are without imports and the loading of data and weights. `cift` is timed as a user calls it.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn
from transformers import BertConfig, BertForSequenceClassification, PreTrainedModel, PrinterCallback

from cift import anatomy, evaluation, finetuning, models, strategies
from cift.corpora import load_corpus
from cift.finetuning import Row
from cift.losses import one_hot
from cift.recipe import Recipe

BATCH, GPU_BATCH = 32, 512
CLOCKED = 2  # epochs that count where speed is measured; the one before them warms up
LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
PREMISE, HYPOTHESIS = 20, 10  # words of a pair for the Neural Semantic Encoder


def now() -> float:
    """Seconds on the clock, once the device has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def sample(corpus: str, split: str, pairs: int, seed: int = 0):
    whole = load_corpus(corpus, split)
    return whole.select(np.random.default_rng(seed).permutation(len(whole))[:pairs].tolist())


def clocked(model: PreTrainedModel, rows: Sequence[Row], labels: Sequence[int], recipe: Recipe) -> float:
    """Seconds of the `CLOCKED` epochs after the first one, in which memory is allocated and code compiled.

    The clock is read where a user may look on, after each epoch's evaluation, here of a single pair.
    """
    targets, ends = one_hot(labels, 3), []
    finetuning.train(
        model, rows, targets, recipe, seed=0, progress=False,
        validation=(rows[:1], targets[:1]), after_evaluation=lambda _: ends.append(now()),
    )  # fmt: skip
    return ends[-1] - ends[0]


# against the Trainer of transformers' quick tour


def trainer(engine: str, corpus: str, pairs: int, test_pairs: int, seed: int) -> dict:
    """MiniLM fine-tuned on the same pairs from the same weights: seconds from text to trained model, test accuracy.

    engine: plain, or cift with a precision, "cift auto" or "cift fp32", by an otherwise default recipe.
    """
    train, test = sample(corpus, "train", pairs, seed), sample(corpus, "test", test_pairs)
    model, tokenizer = models.load("minilm", seed=seed)
    way, *precision = engine.split()
    recipe = Recipe(learning_rate=5e-5, precision=precision[0] if precision else "auto")
    start = now()
    if way == "plain":
        _plain_trainer(model, tokenizer, train, recipe, seed)
    else:
        rows = finetuning.encode(train, tokenizer)
        finetuning.train(model, rows, one_hot(train["label"], 3), recipe, seed, progress=False)
    seconds = now() - start
    answers = finetuning.predict(model, finetuning.encode(test, tokenizer), test)
    return {"seconds": seconds, "accuracy": evaluation.accuracy(answers)}


def _plain_trainer(model, tokenizer, train, recipe: Recipe, seed: int) -> None:
    """All pairs padded to the longest one; the recipe's rate, batch and epochs; else the Trainer's own defaults."""
    from transformers import Trainer, TrainingArguments

    encoded = train.map(
        lambda rows: tokenizer(rows["premise"], rows["hypothesis"], padding="longest", truncation=True),
        batched=True, batch_size=len(train), keep_in_memory=True,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            learning_rate=recipe.learning_rate,
            per_device_train_batch_size=recipe.batch_size,
            num_train_epochs=recipe.epochs,
            seed=seed,
            report_to="none",
            disable_tqdm=True,
        )
        loop = Trainer(model, arguments, train_dataset=encoded)
        loop.remove_callback(PrinterCallback)
        loop.train()


# a frozen encoder


def features(engine: str, corpus: str, pairs: int, epochs: int, seed: int) -> dict:
    """Seconds of all epochs: cached, every-epoch (the frozen encoder runs in each of them), or full fine-tuning.

    Those of cached are with the encoder's one run.
    """
    train = sample(corpus, "train", pairs, seed)
    recipe = Recipe(strategy="full" if engine == "full" else "features", epochs=epochs, learning_rate=None)
    if engine == "every-epoch":
        model, tokenizer = models.load("minilm", seed=seed)
        rows, model = finetuning.encode(train, tokenizer), strategies.prepare(model, recipe.strategy)
        spent = finetuning.train(model, rows, one_hot(train["label"], 3), recipe, seed, progress=False)
    else:
        spent = finetuning.fine_tune(train, recipe, seed, progress=False)[2]
    return {"seconds": spent["train_seconds"] + spent.get("cache_seconds", 0.0)}


# share of the machine's peak


def peak(engine: str, corpus: str, pairs: int, seed: int) -> dict:
    """Operations a second of full fine-tuning, and its share of what plain matrix products of that precision reach.

    engine: minilm or bert-large (random weights), fp32 or bf16, perhaps compiled: "minilm bf16 compiled". Two products
    are measured, before and after: "own", the model's feed-forward layer on one batch, and "large". Operations are
    counted for the pairs' tokens alone, and with the padding that was computed besides.
    """
    name, precision, *compiled = engine.split()
    train = sample(corpus, "train", pairs, seed)
    model, tokenizer = models.load("minilm", seed=seed)
    if name == "bert-large":
        torch.manual_seed(seed)
        model = BertForSequenceClassification(BertConfig(vocab_size=len(tokenizer), num_labels=3, **LARGE))
    rows = finetuning.encode(train, tokenizer)
    batch, size = (GPU_BATCH, 8192) if torch.cuda.is_available() else (BATCH, 2048)
    recipe = Recipe(epochs=1 + CLOCKED, batch_size=batch, precision=precision, compile=bool(compiled))
    lengths = np.array([len(row["input_ids"]) for row in rows])
    shapes = {
        "own": (round(batch * lengths.mean()), model.config.hidden_size, model.config.intermediate_size),
        "large": (size, size, size),
    }
    products = [{name: product(*shape, precision) for name, shape in shapes.items()}]
    seconds = clocked(model, rows, train["label"], recipe)
    products.append({name: product(*shape, precision) for name, shape in shapes.items()})
    done = {
        "real": CLOCKED * operations(model, lengths),
        "padded": sum(operations(model, padded(lengths, batch, epoch)) for epoch in range(1, 1 + CLOCKED)),
    }
    found = {"seconds": seconds, "pairs_per_second": CLOCKED * pairs / seconds, "tokens_per_pair": lengths.mean()}
    for name in shapes:
        best = max(each[name] for each in products)
        found[f"product_{name}_gflops"] = best / 1e9
        for what, count in done.items():
            found[f"{what}_gflops"] = count / seconds / 1e9
            found[f"{what}_share_of_{name}"] = count / seconds / best
    return found


def product(rows: int, inner: int, columns: int, precision: str) -> float:
    """Operations a second of a matrix product, (rows, inner) by (inner, columns); the best of five rounds."""
    where = finetuning.device()
    dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[precision]
    left, right = (torch.randn(shape, device=where, dtype=dtype) for shape in ((rows, inner), (inner, columns)))
    count = 2 * rows * inner * columns
    times = max(1, int((2e13 if where.type == "cuda" else 2e10) / count))
    seconds = []
    for _ in range(6):  # the first one warms up
        start = now()
        for _ in range(times):
            left @ right
        seconds.append((now() - start) / times)
    return count / min(seconds[1:])


def operations(model: PreTrainedModel, lengths: np.ndarray) -> float:
    """Additions and multiplications to train on pairs of so many tokens once.

    6 for each weight of a linear map and each token that it sees: 2 forward, 4 backward; pooler and classifier see one
    token of a pair. And 12 x hidden size x length squared in each layer for attention's two products. Embeddings,
    norms, activations, dropout and the optimizer count as none.
    """
    layers = anatomy.layers(model)
    inside = _linear_weights(layers)
    outside = _linear_weights(model) - inside
    attention = 12 * len(layers) * model.config.hidden_size * np.square(lengths, dtype=float).sum()
    return 6 * inside * lengths.sum() + 6 * outside * len(lengths) + attention


def _linear_weights(module: nn.Module) -> int:
    return sum(part.weight.numel() for part in module.modules() if isinstance(part, nn.Linear))


def padded(lengths: np.ndarray, batch: int, epoch: int) -> np.ndarray:
    """Lengths with their batch's padding, in the batches of an epoch of `finetuning.train` with seed 0."""
    sampler = finetuning.LengthBuckets(lengths, batch, seed=0)
    sampler.set_epoch(epoch)
    batches = np.split(lengths[list(sampler)], range(batch, len(lengths), batch))
    return np.concatenate([np.full(len(part), part.max()) for part in batches])


# the Neural Semantic Encoder


def nse(engine: str, pairs: int, seed: int) -> dict:
    """Pairs a second of training it on random words, in batches of 128: "cift fp32", "plain bf16" and so on.

    plain is `nse_plain.PlainNse` in a loop of the same steps over batches that are ready made.
    """
    way, precision = engine.split()
    recipe = Recipe(
        epochs=1 + CLOCKED, batch_size=128, optimizer="adam", learning_rate=3e-4, weight_decay=3e-5, clip=15.0,
        schedule="constant", warmup=0.0, precision=precision,
    )  # fmt: skip
    model, _ = models.load("nse", seed=seed)
    rng = np.random.default_rng(seed)
    length = PREMISE + HYPOTHESIS
    side = torch.arange(length) >= PREMISE
    rows = [
        {
            "input_ids": torch.from_numpy(rng.integers(1000, model.config.vocab_size, length)),
            "token_type_ids": side.long(),
            "attention_mask": torch.ones(length, dtype=torch.long),
        }
        for _ in range(pairs)
    ]
    labels = rng.integers(0, 3, pairs)
    run = clocked if way == "cift" else _plain_loop
    seconds = run(model, rows, labels, recipe)
    return {"seconds": seconds, "pairs_per_second": CLOCKED * pairs / seconds}


def _plain_loop(model: PreTrainedModel, rows: Sequence[Row], labels: np.ndarray, recipe: Recipe) -> float:
    from nse_plain import PlainNse

    where = finetuning.device()
    plain = PlainNse(model.config)
    plain.load_state_dict(model.state_dict())
    plain.to(where).train()
    learning = [weights for weights in plain.parameters() if weights.requires_grad]
    optimizer = torch.optim.Adam(learning, recipe.learning_rate, betas=recipe.betas, weight_decay=recipe.weight_decay)
    batches = []
    for start in range(0, len(rows), recipe.batch_size):
        part = slice(start, start + recipe.batch_size)
        inputs = {name: value.to(where) for name, value in finetuning.collate(rows[part]).items()}
        batches.append((inputs, torch.as_tensor(labels[part], device=where)))
    ends = []
    for _ in range(recipe.epochs):
        for inputs, gold in batches:
            with torch.autocast(where.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
                logits = plain(**inputs)
            nn.functional.cross_entropy(logits.float(), gold).backward()
            nn.utils.clip_grad_norm_(learning, recipe.clip)
            optimizer.step()
            optimizer.zero_grad()
        ends.append(now())
    return ends[-1] - ends[0]


PARTS: dict[str, Callable[..., dict]] = {"trainer": trainer, "features": features, "peak": peak, "nse": nse}

if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    print(json.dumps({name: float(value) for name, value in PARTS[given.pop("part")](**given).items()}))
