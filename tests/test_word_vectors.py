"""Word vectors: GloVe's file as it is, odd words and all, and pairs cut into words."""

import zipfile

import numpy as np
import pytest

from cift import word_vectors
from cift.errors import InputError

# words of white space inside, a word twice, a no-break space inside a word, as the 840B file has them
GLOVE = """, 0.5 -0.5 1e-3
the 1 2 3
. . . 9 9 9
at name@domain.com 8 8 8
at 4 5 6
the 7 7 7
n't 0.1 0.2 0.3
a\u00a0b 6 6 6
Cat 2 2 2
café 3 2 1
"""


def test_the_wanted_words_are_read_and_the_others_are_unknown(file):
    matrix, tokenizer = word_vectors.glove({"the", "at", "n't", "café", "dog", "."}, file(GLOVE, "glove.txt"))
    expected = [[0, 0, 0], [0, 0, 0], [1, 2, 3], [4, 5, 6], [0.1, 0.2, 0.3], [3, 2, 1]]
    np.testing.assert_array_equal(matrix, np.array(expected, np.float32))
    assert tokenizer.convert_ids_to_tokens(range(6)) == ["[PAD]", "[UNK]", "the", "at", "n't", "café"]
    cut = tokenizer("the dog don’t", "at the café")
    assert cut["input_ids"] == [2, 1, 1, 4, 3, 2, 5]
    assert cut["token_type_ids"] == [0, 0, 0, 0, 1, 1, 1]
    assert tokenizer.pad_token_id == 0


def test_sentences_are_cut_as_gloves_own_texts_were():
    found = word_vectors.words(["A man's dog can’t eat half-eaten food,", "don'T ask: U.S. 3.5\u00a0km!"])
    words = "A man 's dog ca n't eat half-eaten food , do n'T ask : U . S 3 5 km !"
    assert found == set(words.split())


def test_a_zip_is_read_without_unpacking_it(tmp_path):
    path = tmp_path / "glove.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("glove.txt", GLOVE)
    assert word_vectors.glove({"at"}, path).matrix[2].tolist() == [4, 5, 6]
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("other.txt", GLOVE)
    with pytest.raises(InputError, match="glove.zip: has 2 .txt files; give the one to read"):
        word_vectors.glove({"at"}, path)


@pytest.mark.parametrize(
    "content, message",
    [
        ("the 1 2 3\nat 4 5\n", "line 2, 'at 4 5', is not a word and its numbers"),
        ("the 1 2 3\nat 4 five 6\n", "line 2, .* is not a word and its numbers"),
        ("the 1 2 3\nat 4 nan 6\n", "line 2, .* is not a word and its numbers"),
        ("2 3\nthe 1 2 3\nat 4 5 6\n", "line 1, '2 3', is not a word .* without a header"),
        ("a 1 2 3\n", "has a vector for none of the wanted words"),
        ("", "has a vector for none of the wanted words"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(file, content, message):
    with pytest.raises(InputError, match=message):
        word_vectors.glove({"the", "at"}, file(content, "glove.txt"))


def test_a_damaged_zip_is_said(tmp_path):
    path = tmp_path / "glove.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("glove.txt", "".join(f"w{i} {i**3} {i**5}\n" for i in range(500)))
    whole = path.read_bytes()
    path.write_bytes(whole[:500] + bytes(byte ^ 255 for byte in whole[500:560]) + whole[560:])
    with pytest.raises(InputError, match="glove.zip: cannot be read .*download the file again"):
        word_vectors.glove({"w400"}, path)


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(InputError, match="none.txt: cannot be read .*check the path"):
        word_vectors.glove({"at"}, tmp_path / "none.txt")


def test_a_model_of_gloves_words_has_no_projection(file):
    from cift import nse

    vectors = word_vectors.glove({"the", "at"}, file("".join(f"{w} {'1 ' * 300}\n" for w in ("the", "at")), "g.txt"))
    model, tokenizer = nse.build("nse", vectors=vectors)
    assert model.config.vocab_size == 4 and not any("projection" in name for name, _ in model.named_parameters())
    assert model(**tokenizer("at the", "the", return_tensors="pt")).logits.shape == (1, 3)
