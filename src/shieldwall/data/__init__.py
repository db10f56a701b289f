"""Text -> rows of tokens: corpora, tables, tokenizers, the split into training and evaluation, the order of batches.

    read_corpus("pydoc")                     corpora/       specs become documents; tables/ gives them records
    read_pairs("csv:qa.csv", "q", "a")       pairs.py       records become prompts and completions
      -> split_text, split_pairs             split.py       head: training, tail: evaluation
      -> train_tokenizer | load_tokenizer    tokenizer.py   text becomes token ids
      -> make_blocks                         blocks.py      ids become rows: joined, padded or packed
      -> Batches(rows, BatchOrder(...))      batches.py     which rows each micro-batch of each step holds

Everything here is a pure function of the text, the tokenizer and the run's seed.
"""

from __future__ import annotations

from shieldwall.data.batches import Batches, BatchOrder, evaluation_batches
from shieldwall.data.blocks import Blocks, all_rows, check_vocabulary, cut_blocks, make_blocks
from shieldwall.data.corpora import CORPORA, Corpus, Reader, read_corpus
from shieldwall.data.encode import encode_text
from shieldwall.data.examples import Example, Tally, fill_rows
from shieldwall.data.packing import pack
from shieldwall.data.pairs import Pair, Pairs, read_pairs, split_pairs
from shieldwall.data.rows import IGNORED, RowBatch, Rows
from shieldwall.data.split import split_text
from shieldwall.data.tables import TABLES
from shieldwall.data.tables.record import Record
from shieldwall.data.tokenizer import END_OF_TEXT, SMALLEST_VOCABULARY, load_tokenizer, train_tokenizer

__all__ = [
    "CORPORA",
    "END_OF_TEXT",
    "IGNORED",
    "SMALLEST_VOCABULARY",
    "TABLES",
    "BatchOrder",
    "Batches",
    "Blocks",
    "Corpus",
    "Example",
    "Pair",
    "Pairs",
    "Reader",
    "Record",
    "RowBatch",
    "Rows",
    "Tally",
    "all_rows",
    "check_vocabulary",
    "cut_blocks",
    "encode_text",
    "evaluation_batches",
    "fill_rows",
    "load_tokenizer",
    "make_blocks",
    "pack",
    "read_corpus",
    "read_pairs",
    "split_pairs",
    "split_text",
    "train_tokenizer",
]
