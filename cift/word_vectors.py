"""Word vectors for the Neural Semantic Encoder: the embedded MiniLM's word pieces, or GloVe's words.

Either comes with its tokenizer, which cuts a pair into words only (no [CLS], no [SEP]) and tells the sentences apart by
token_type_ids 0 and 1.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cift.errors import InputError
from cift.fetch import fetch

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

GLOVE = "glove/glove.840B.300d.zip"
PAD, UNKNOWN = "[PAD]", "[UNK]"
# As the vectors' own texts were cut: "don't" is "do" and "n't", "dog's" is "dog" and "'s", a mark is a word of its own.
_WORD = r"(?i)\w+?(?=n't\b)|n't\b|'(?:s|m|d|re|ve|ll)\b|\w+(?:-\w+)*|[^\w\s]"


class WordVectors(NamedTuple):
    """matrix: (words, features), float32, a row an id of the tokenizer."""

    matrix: np.ndarray
    tokenizer: PreTrainedTokenizerFast


def minilm_pieces() -> WordVectors:
    """The table of the embedded MiniLM's word pieces, 30,522 of 384 features each."""
    import torch
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    from cift.models import resolve

    logging.disable_progress_bar()
    place = resolve("minilm")
    model = AutoModel.from_pretrained(place, use_safetensors=True, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(place).backend_tokenizer
    return WordVectors(model.get_input_embeddings().weight.detach().numpy(), _words_only(tokenizer))


def words(sentences: Iterable[str]) -> set[str]:
    """The different words of some sentences, as the tokenizer of `glove` cuts them."""
    empty = _word_tokenizer([])
    cut, normal = empty.pre_tokenizer, empty.normalizer
    return {word for text in sentences for word, _ in cut.pre_tokenize_str(normal.normalize_str(text))}


def glove(wanted: Iterable[str], path: str | Path | None = None) -> WordVectors:
    """GloVe's vectors of the wanted words, such as `words` of a corpus; the tokenizer takes all others as unknown.

    path: a text or zip in GloVe's form, a word and its numbers a line, in UTF-8; by default the published
    glove.840B.300d (2.2 million words of the web, cased; 2 GB), through `cift.fetch`. Rows 0 and 1, for padding and
    unknown words, are zero. Raises InputError for a file in another form, and where it has none of the words.
    """
    source = Path(path) if path is not None else fetch(GLOVE)
    found = _vectors(source, {word.encode(): word for word in wanted})
    if not found:
        raise InputError(f"{source}: has a vector for none of the wanted words; check both, capital letters too")
    rows = np.stack(list(found.values()))
    unseen = np.zeros((2, rows.shape[1]), np.float32)
    return WordVectors(np.concatenate([unseen, rows]), _words_only(_word_tokenizer(found)))


def _vectors(source: Path, wanted: dict[bytes, str]) -> dict[str, np.ndarray]:
    """The wanted words' vectors in the file's order; where a word has two, the first."""
    found: dict[str, np.ndarray] = {}
    features = 0
    for number, line in enumerate(_lines(source), start=1):
        features = features or line.count(b" ")
        word = line.partition(b" ")[0]
        if features > 1 and (word not in wanted or wanted[word] in found):
            continue
        spelt, *numbers = line.rsplit(b" ", features)
        if spelt != word and len(numbers) == features:  # a word with a space in it, such as ". . .": never wanted
            continue
        try:
            vector = np.array([float(number) for number in numbers], np.float32)
        except ValueError:
            vector = np.empty(0, np.float32)
        if features < 2 or len(vector) != features or not np.isfinite(vector).all():
            raise InputError(
                f"{source}: line {number}, {line[:40].decode(errors='replace')!r}, is not a word and its numbers, as "
                "many as on line 1 and at least 2; give a file in GloVe's form, without a header"
            )
        found[wanted[word]] = vector
    return found


def _lines(source: Path) -> Iterator[bytes]:
    try:
        if zipfile.is_zipfile(source):
            with zipfile.ZipFile(source) as archive:
                names = [name for name in archive.namelist() if name.endswith(".txt")]
                if len(names) != 1:
                    raise InputError(f"{source}: has {len(names)} .txt files; give the one to read, unpacked")
                with archive.open(names[0]) as file:
                    yield from (line.rstrip(b"\r\n ") for line in file)
        else:
            with open(source, "rb") as file:
                yield from (line.rstrip(b"\r\n ") for line in file)
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{source}: cannot be read ({error}); check the path, or download the file again") from error


def _word_tokenizer(vocabulary: Iterable[str]) -> Tokenizer:
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    ids = {word: i for i, word in enumerate([PAD, UNKNOWN, *vocabulary])}
    tokenizer = Tokenizer(models.WordLevel(ids, UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace("’", "'")])
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_WORD), "removed", invert=True)
    return tokenizer


def _words_only(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    """For transformers; a pair is the premise's words, of type 0, and the hypothesis's, of type 1."""
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.post_processor = TemplateProcessing(single="$A:0", pair="$A:0 $B:1", special_tokens=[])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token=UNKNOWN,
        pad_token=PAD,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )
