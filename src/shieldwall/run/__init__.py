"""Composes the rooms into a run. `train.py` is the story; the other files are its chapters.

`folder.py` what lies where; `materials.py` model, tokenizer and blocks; `planning.py` cut, plan and memory;
`session.py` one deployment from first weights to model; `deployment.py` hosts on a transport; `loop.py` the steps;
`summary.py` what a run leaves behind; `trace.py` when passes ran; `report.py`, with `against.py`, `evaluate.py` and
`demo.py` the other commands.
"""
