"""Tokenizers that tell the two texts of a pair apart, after a round trip through a folder too."""

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, GPT2Config, LlamaConfig, PreTrainedTokenizerFast, Qwen2Config, RobertaConfig

from cift.errors import InputError
from cift.pairs import tell_apart

SPECIALS = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "sep_token": "</s>", "cls_token": "<s>"}


def byte_pairs(roberta=False, **specials):
    """A byte-level tokenizer as GPT-2's, which joins a pair with nothing in between, or as RoBERTa's."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    backend.post_processor = processors.ByteLevel(trim_offsets=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(["a cat sleeps", "a dog"], trainers.BpeTrainer(initial_alphabet=alphabet))
    backend.add_special_tokens(sorted(set(specials.values())))
    if roberta:
        ids = [(token, backend.token_to_id(token)) for token in ("<s>", "</s>")]
        backend.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=ids
        )
    return PreTrainedTokenizerFast(tokenizer_object=backend, **specials)


def saved_and_loaded(tokenizer, folder, config):
    tokenizer.save_pretrained(folder)
    config.save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("config", [GPT2Config, LlamaConfig, Qwen2Config])
def test_a_decoders_pair_is_parted_by_a_newline_and_padded_by_what_ends_a_text(config, tmp_path):
    tokenizer = tell_apart(byte_pairs(eos_token="<|endoftext|>"))
    for found in (tokenizer, saved_and_loaded(tokenizer, tmp_path, config())):
        assert found.decode(found("a cat", "a dog").input_ids) == "a cat\na dog"
        assert found.decode(found("a cat").input_ids) == "a cat"
        assert found.pad_token == "<|endoftext|>" and found.padding_side == "right"
        assert list(found("a", "b")) == ["input_ids", "attention_mask"]
        assert len(found("a cat " * 9, "a dog " * 9, truncation=True, max_length=11).input_ids) == 11


@pytest.mark.parametrize("roberta", [False, True])
def test_marked_tokens_are_the_premises_or_the_hypothesiss(roberta, tmp_path):
    tokenizer = tell_apart(byte_pairs(roberta, **SPECIALS), mark=True)
    for found in (tokenizer, saved_and_loaded(tokenizer, tmp_path, RobertaConfig())):
        pair = found("a cat", "a dog")
        text = "<s>a cat</s></s>a dog</s>" if roberta else "a cat\na dog"
        assert found.decode(pair.input_ids) == text
        tokens = list(zip(pair.input_ids, pair.token_type_ids, strict=True))
        marked = [found.decode([token for token, text in tokens if text == wanted]) for wanted in (0, 1)]
        assert marked == (["<s>a cat</s></s>", "a dog</s>"] if roberta else ["a cat\n", "a dog"])
        assert found.decode(found("a cat").input_ids) == ("<s>a cat</s>" if roberta else "a cat")


def test_a_tokenizer_that_tells_them_apart_already_stays_as_it_is(tiny_model):
    for tokenizer in (AutoTokenizer.from_pretrained(tiny_model), byte_pairs(roberta=True, **SPECIALS)):
        before = tokenizer("a cat", "a dog")
        assert tell_apart(tokenizer) is tokenizer and tokenizer("a cat", "a dog") == before
    bert = AutoTokenizer.from_pretrained(tiny_model)
    assert tell_apart(bert, mark=True) is bert


def test_where_newlines_are_dropped_the_token_that_ends_a_text_stands_between(tiny_model):
    backend = AutoTokenizer.from_pretrained(tiny_model).backend_tokenizer
    backend.post_processor = processors.ByteLevel()
    tokenizer = tell_apart(PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="[SEP]"))
    assert tokenizer.decode(tokenizer("a cat", "a dog").input_ids) == "a cat [SEP] a dog"


def test_what_cannot_pad_or_part_is_refused(tiny_model):
    backend = AutoTokenizer.from_pretrained(tiny_model).backend_tokenizer
    backend.post_processor = processors.ByteLevel()
    with pytest.raises(InputError, match="puts nothing between the two texts of a pair; set its eos_token"):
        tell_apart(PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]"))
    with pytest.raises(InputError, match="tokenizer TokenizersBackend: has no token to pad with; set its pad_token"):
        tell_apart(byte_pairs())
