"""A tokenizer's way with sentence pairs: what stands between premise and hypothesis, and which token is whose.

Encoders' tokenizers put a separator between two texts, decoders' (GPT-2, Qwen) nothing at all, so that "A cat
sleeps.An animal" would be one text; most decoders' have no token to pad with either. Token types are given by BERT's
tokenizer and few others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cift.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PAIR = (("before", 0), ("$A", 0), ("between", 0), ("$B", 1), ("after", 1))
INPUTS = ["input_ids", "token_type_ids", "attention_mask"]


def tell_apart(tokenizer: PreTrainedTokenizerBase, mark: bool = False) -> PreTrainedTokenizerBase:
    """A tokenizer that pads on the right and separates premise from hypothesis: the one given, where it does already.

    Where it puts nothing between them, a newline goes there, or, where it drops newlines, the token that ends a text,
    which also pads where none does. mark: with token_type_ids, 0 for the premise and 1 for the hypothesis.
    Raises InputError where that cannot be had.
    """
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    kind = f"tokenizer {type(tokenizer).__name__}"
    tokenizer.padding_side = "right"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    if tokenizer.pad_token is None:
        raise InputError(f"{kind}: has no token to pad with; set its pad_token")
    pair = tokenizer("a", "b")
    marks = set(pair.get("token_type_ids", ())) == {0, 1}
    if not tokenizer.is_fast:
        if not (marks or (tokenizer.sep_token and not mark)):
            raise InputError(f"{kind}: does not tell the two texts of a pair apart")
        return tokenizer
    before, between, after = _around(pair.input_ids, pair.sequence_ids())
    if marks or (between and not mark):
        return tokenizer
    single = tokenizer("a")
    first, _, last = _around(single.input_ids, single.sequence_ids())
    between = between or tokenizer("\n", add_special_tokens=False).input_ids or [tokenizer.eos_token_id]
    if None in between:
        raise InputError(f"{kind}: puts nothing between the two texts of a pair; set its eos_token")
    parts = {"first": first, "last": last, "before": before, "between": between, "after": after}
    specials = [
        {"id": part, "ids": ids, "tokens": tokenizer.convert_ids_to_tokens(ids)} for part, ids in parts.items() if ids
    ]
    known = {special["id"] for special in specials} | {"$A", "$B"}
    backend = tokenizer.backend_tokenizer
    backend.post_processor = TemplateProcessing(
        single=[f"{part}:0" for part in ("first", "$A", "last") if part in known],
        pair=[f"{part}:{text}" for part, text in PAIR if part in known],
        special_tokens=specials,
    )
    # the general class: RoBERTa's own, for one, would put its template back on loading
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_input_names=INPUTS if mark else tokenizer.model_input_names,
        model_max_length=tokenizer.model_max_length,
        clean_up_tokenization_spaces=False,
        **tokenizer.special_tokens_map,
    )


def _around(ids: list[int], texts: list[int | None]) -> tuple[list[int], list[int], list[int]]:
    """The ids before the first text, between the two (none, where there is one), and after the last."""
    inside = [i for i, text in enumerate(texts) if text is not None]
    between = [ids[i] for i in range(inside[0], inside[-1]) if texts[i] is None]
    return ids[: inside[0]], between, ids[inside[-1] + 1 :]
