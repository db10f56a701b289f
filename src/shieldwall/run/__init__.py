"""Composes the rooms into a run. `train.py` is the story; the other files are its chapters.

`folder.py` what lies where; `corpus.py` text, and rows cut from it; `model.py` how its stages are built; `materials.py`
model, tokenizer and rows; `planning.py` cut, plan and memory; `session.py` one deployment from first weights to model;
`deployment.py` hosts on a transport; `states.py` what each stage starts from; `feed.py` what each micro-batch holds;
`loop.py` the steps; `inputs.py` what a resumed run must find again; `trace.py` when passes ran; `export.py` and
`summary.py` what a run leaves behind; `saved_model.py` what others read of it; `report.py`, with `against.py`,
`evaluate.py` and `demo.py` the other commands.
"""
