"""What a tokenizer makes of a corpus: lengths, truncation, what padding costs, words that fall to pieces, case.

A tokenizer cuts words into pieces of its vocabulary. The more pieces, the longer (and slower) the input and the less
the model knows of the word; what does not fit into the maximum length is cut off unread.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cift.errors import InputError
from cift.finetuning import LengthBuckets, quiet

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

_CHUNK = 10_000  # pairs tokenized at once
_WORD = re.compile(rf"[^\s{re.escape(string.punctuation)}“”„‘’«»–—…¡¿]+")


def token_lengths(corpus: Dataset, tokenizer: PreTrainedTokenizerBase) -> pd.DataFrame:
    """How long the pairs are, untruncated: a row a pair, index item_id.

    words: of both sentences, between white space; tokens: with the special ones; pieces_per_word: tokens without the
    special ones, over words (punctuation counts as pieces); unknown: tokens that stand for what the vocabulary lacks.
    """
    from tqdm.auto import tqdm

    pairs = list(zip(corpus["premise"][:], corpus["hypothesis"][:], strict=True))
    rows = tqdm(_token_ids(pairs, tokenizer), "tokenize", total=len(pairs), disable=quiet())
    counts = [(len(row), row.count(tokenizer.unk_token_id)) for row in rows]
    words = np.array([len(premise.split()) + len(hypothesis.split()) for premise, hypothesis in pairs], int)
    tokens, unknown = np.array(counts, int).reshape(-1, 2).T
    pieces = tokens - tokenizer.num_special_tokens_to_add(pair=True)
    columns = {"words": words, "tokens": tokens, "pieces_per_word": pieces / words, "unknown": unknown}
    return pd.DataFrame(columns, index=pd.Index(corpus["item_id"][:], name="item_id"))


def truncation(lengths: pd.DataFrame, max_lengths: Sequence[int]) -> pd.DataFrame:
    """What each maximum length, in tokens, cuts off: pairs_cut and tokens_lost, as shares; index max_length.

    lengths: from `token_lengths`. Raises InputError for a maximum below 1.
    """
    _check_positive("max_length", max_lengths)
    tokens = lengths["tokens"].to_numpy()
    rows = {limit: ((tokens > limit).mean(), (tokens - limit).clip(0).sum() / tokens.sum()) for limit in max_lengths}
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["pairs_cut", "tokens_lost"])
    return table.rename_axis(index="max_length")


def padding_cost(lengths: pd.DataFrame, batch_size: int = 32, max_length: int = 128, seed: int = 0) -> pd.DataFrame:
    """What an epoch's padding costs, by the length that sequences are padded to; index padding.

    lengths: from `token_lengths`, here truncated to max_length. The batches are random, or of similar length
    (`finetuning.LengthBuckets`), with this seed.
    tokens: processed, padding included; padded: the share that is padding; cost: tokens relative to no padding, which
    is what most of a Transformer's work grows with; attention: the sum of squared lengths relative to no padding, which
    is what the comparison of all tokens with all others grows with, and which matters for long sequences.
    Raises InputError for a batch_size or max_length below 1.
    """
    _check_positive("batch_size", [batch_size])
    _check_positive("max_length", [max_length])
    tokens = lengths["tokens"].clip(upper=max_length).to_numpy()

    def longest_of_batch(order: Iterable[int]) -> np.ndarray:
        ordered = tokens[np.fromiter(order, int)]
        longest = np.maximum.reduceat(ordered, np.arange(0, len(ordered), batch_size))
        return np.repeat(longest, batch_size)[: len(ordered)]

    padded_to = {
        "none": tokens,
        "max_length": np.full_like(tokens, max_length),
        "longest of the corpus": np.full_like(tokens, tokens.max()),
        "longest of a random batch": longest_of_batch(np.random.default_rng(seed).permutation(len(tokens))),
        "longest of a bucketed batch": longest_of_batch(LengthBuckets(tokens, batch_size, seed)),
    }
    total, square = tokens.sum(), (tokens**2).sum()
    rows = {
        name: (padded.sum(), 1 - total / padded.sum(), padded.sum() / total, (padded**2).sum() / square)
        for name, padded in padded_to.items()
    }
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["tokens", "padded", "cost", "attention"])
    return table.rename_axis(index="padding")


def most_split(corpus: Dataset, tokenizer: PreTrainedTokenizerBase, n: int = 20) -> pd.DataFrame:
    """The n words that are cut into most pieces, the more frequent ones first: word, frequency, n_pieces, pieces.

    Words are what stands between white space and punctuation, in upper and lower case as they are; each is tokenized
    alone, with a space before it, as within a sentence.
    """
    sentences = [*corpus["premise"][:], *corpus["hypothesis"][:]]
    frequency = Counter(word for sentence in sentences for word in _WORD.findall(sentence))
    words = list(frequency)
    encoded = tokenizer([f" {word}" for word in words], add_special_tokens=False)["input_ids"] if words else []
    table = pd.DataFrame({"word": words, "frequency": list(frequency.values()), "ids": encoded})
    table["n_pieces"] = table["ids"].map(len)
    table = table.sort_values(["n_pieces", "frequency", "word"], ascending=[False, False, True], ignore_index=True)[:n]
    pieces = [" ".join(tokenizer.convert_ids_to_tokens(ids)) for ids in table["ids"]]
    return table[["word", "frequency", "n_pieces"]].assign(pieces=pieces)


def case_effect(corpus: Dataset, tokenizer: PreTrainedTokenizerBase) -> pd.DataFrame:
    """What lower-casing the sentences changes for a tokenizer: nothing for an uncased one. Two rows, index text.

    tokens: per pair; pieces_per_word: of the corpus; unknown: share of tokens; pairs_changed: share of pairs with other
    token ids than as written.
    """
    from tqdm.auto import tqdm

    pairs = list(zip(corpus["premise"][:], corpus["hypothesis"][:], strict=True))
    lowered = [(premise.lower(), hypothesis.lower()) for premise, hypothesis in pairs]
    both = zip(_token_ids(pairs, tokenizer), _token_ids(lowered, tokenizer), strict=True)
    unk = tokenizer.unk_token_id
    counts = [
        (len(one), one.count(unk), len(other), other.count(unk), one != other)
        for one, other in tqdm(both, "tokenize", total=len(pairs), disable=quiet())
    ]
    words = sum(len(sentence.split()) for pair in pairs for sentence in pair)
    special = tokenizer.num_special_tokens_to_add(pair=True) * len(pairs)

    def row(tokens: int, unknown: int, changed: int) -> dict[str, float]:
        return {
            "tokens": tokens / len(pairs),
            "pieces_per_word": (tokens - special) / words,
            "unknown": unknown / tokens,
            "pairs_changed": changed / len(pairs),
        }

    tokens, unknown, lower_tokens, lower_unknown, changed = np.sum(counts, axis=0)
    rows = {"as written": row(tokens, unknown, 0), "lower-cased": row(lower_tokens, lower_unknown, changed)}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(index="text")


def train_wordpiece(corpus: Dataset, vocab_size: int = 8000, lowercase: bool = False) -> PreTrainedTokenizerFast:
    """A WordPiece tokenizer learnt from the corpus's sentences, with BERT's special tokens and splitting into words.

    It shows what a vocabulary of one's own domain would look like; a pre-trained model needs the one that it was
    trained with. vocab_size: at most; a small corpus gives fewer pieces. lowercase: also strips accents, as BERT does.
    Raises InputError where vocab_size cannot hold the corpus's characters.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}  # padding is id 0
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    sentences = [*corpus["premise"][:], *corpus["hypothesis"][:]]
    # The trainer numbers characters within words in the order of a hash table, and breaks ties by number: another
    # vocabulary each time, unless they are numbered before, as special tokens of the training.
    words = {
        word
        for sentence in sentences
        for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(sentence))
    }
    inner = sorted({f"##{character}" for word in words for character in word[1:]})
    tokenizer.train_from_iterator(
        sentences,
        trainers.WordPieceTrainer(
            vocab_size=vocab_size, special_tokens=[*special.values(), *inner], show_progress=not quiet()
        ),
    )
    vocabulary = tokenizer.get_vocab()
    if len(vocabulary) > vocab_size:
        raise InputError(
            f"WordPiece: vocab_size is {vocab_size}, but characters alone take {len(vocabulary)} here; ask for more"
        )
    learnt = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    learnt.normalizer, learnt.pre_tokenizer = tokenizer.normalizer, tokenizer.pre_tokenizer
    learnt.decoder = decoders.WordPiece()
    learnt.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=learnt,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **{f"{name}_token": token for name, token in special.items()},
    )


def _token_ids(pairs: Sequence[tuple[str, str]], tokenizer: PreTrainedTokenizerBase) -> Iterator[list[int]]:
    """Untruncated token ids of each pair, special tokens included."""
    for start in range(0, len(pairs), _CHUNK):
        chunk = list(map(list, zip(*pairs[start : start + _CHUNK], strict=True)))
        # verbose: no warning that a pair is too long for the model, which is what is being asked
        yield from tokenizer(*chunk, return_attention_mask=False, return_token_type_ids=False, verbose=False)[
            "input_ids"
        ]


def _check_positive(name: str, values: Iterable[int]) -> None:
    wrong = [str(value) for value in values if value < 1]
    if wrong:
        raise InputError(f"{name}: {', '.join(wrong)}; it must be at least 1")
