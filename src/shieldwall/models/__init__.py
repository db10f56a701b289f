"""A Hugging Face causal language model as embeddings, layers and head; cutting it; reading and saving its weights.

Start with `families/base.py` (how a family's layers are called), then `span.py` (what a stage is), `stage.py` (the
part of a model that one stage computes), `weights.py` (lazy reading), `measure.py` and `cut.py` (balance).
"""
