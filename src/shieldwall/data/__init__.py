"""Text -> blocks of tokens: corpora, tokenizers, the split into training and evaluation, the order of batches.

    read_corpus("pydoc")                      corpora/       a spec becomes documents
      -> split_text                           split.py       head: training, tail: evaluation
      -> train_tokenizer | load_tokenizer     tokenizer.py   text becomes token ids
      -> make_blocks                          blocks.py      ids become blocks of equal length
      -> Batches(blocks_NT, BatchOrder(...))  batches.py     which blocks each micro-batch of each step holds

Everything here is a pure function of the text, the tokenizer and the run's seed.
"""

from __future__ import annotations

from shieldwall.data.batches import Batches, BatchOrder, evaluation_batches
from shieldwall.data.blocks import Blocks, check_vocabulary, cut_blocks, make_blocks
from shieldwall.data.corpora import CORPORA, Corpus, Reader, read_corpus
from shieldwall.data.split import split_text
from shieldwall.data.tokenizer import END_OF_TEXT, SMALLEST_VOCABULARY, encode_text, load_tokenizer, train_tokenizer

__all__ = [
    "CORPORA",
    "END_OF_TEXT",
    "SMALLEST_VOCABULARY",
    "BatchOrder",
    "Batches",
    "Blocks",
    "Corpus",
    "Reader",
    "check_vocabulary",
    "cut_blocks",
    "encode_text",
    "evaluation_batches",
    "load_tokenizer",
    "make_blocks",
    "read_corpus",
    "split_text",
    "train_tokenizer",
]
