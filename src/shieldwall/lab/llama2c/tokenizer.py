"""Pieces and scores of sentencepiece as a fast tokenizer of Hugging Face.

Text becomes tokens as in llama2.c's run.c: one space is put before it, each character is looked up, unknown ones become
their bytes, and of all neighbours that together are a piece the pair with the highest score merges, as long as there is
one.
"""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer, decoders, models, normalizers, processors
from transformers import PreTrainedTokenizerFast

from shieldwall.lab.llama2c.tokenizer_file import BEGIN, END, FIXED, SPACE, UNKNOWN, Piece


def to_fast_tokenizer(pieces: Sequence[Piece], positions: int) -> PreTrainedTokenizerFast:
    """A tokenizer that gives the ids of llama2.c's `encode`.

    Args:
        pieces: by id, as `read_tokenizer_file` gives them.
        positions: longest text of the model, in tokens.

    Returns:
        A tokenizer that puts the begin token first unless asked not to, and whose `decode(encode(x))` without it is
        `x` for each text without "▁" (it stands for a space, as in every tokenizer from sentencepiece) and without the
        names of special tokens (they become those tokens, as everywhere in Hugging Face).
    """
    ids = {piece.text: token for token, piece in enumerate(pieces)}
    backend = Tokenizer(
        models.BPE(vocab=ids, merges=merges_of(pieces), unk_token=UNKNOWN, fuse_unk=True, byte_fallback=True)
    )
    # Not Metaspace: that puts no space before a text which begins with one, and decoding would then lose it.
    backend.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
    backend.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    backend.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A", pair=f"{BEGIN} $A {BEGIN} $B", special_tokens=[(BEGIN, ids[BEGIN])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token=UNKNOWN,
        bos_token=BEGIN,
        eos_token=END,
        clean_up_tokenization_spaces=False,
        model_max_length=positions,
    )


def merges_of(pieces: Sequence[Piece]) -> list[tuple[str, str]]:
    """Every way to put a piece together from two others, the highest score first.

    A piece that can be put together in several ways has a merge for each; of them, the one with the longest left part
    comes first, as in transformers' own conversion from sentencepiece. Bytes and special tokens never merge. The scores
    of a trained sentencepiece BPE are all different, so the order is that of run.c.

    Returns:
        Pairs of texts, best first.
    """
    learned = {piece.text: piece.score for piece in pieces[len(FIXED) :]}
    found = []
    for text, score in learned.items():
        for cut in range(len(text) - 1, 0, -1):
            left, right = text[:cut], text[cut:]
            if left in learned and right in learned:
                found.append((score, left, right))
    found.sort(key=lambda merge: -merge[0])
    return [(left, right) for _, left, right in found]
