"""Composes the rooms into a run. `train.py` is the story; the other files are its chapters.

`folder.py` what lies where; `corpus.py` text, and rows cut from it; `materials.py` model, tokenizer and rows;
`planning.py` cut, plan and memory; `session.py` one deployment from first weights to model; `deployment.py` hosts on
a transport; `feed.py` what each micro-batch holds; `loop.py` the steps; `inputs.py` what a resumed run must find
again; `summary.py` what a run leaves behind; `evaluate.py` and `demo.py` the other commands.
"""
