"""The engine: a stage host that plays a lane, and the coordinator that makes a step of it.

Read in this order: `core/hooks.py` (the only way in), `hosted_stage.py` (compute and gradients of one stage), `lane.py`
(playing actions), `update.py` (the new state beside the old one), `host.py` (orders and reports), `coordinator.py`
(the step).
"""
