"""The shield's promise as a property: drawn pipelines, one drawn attacker each, and the laws that must hold.

draw.py     a pipeline and an attack out of random numbers
laws.py     runs it attacked, clean and unchecked, and says which law did not hold
journal.py  what was run already, so that a long experiment can go on
report.py   counts by kind, as JSON and Markdown
"""
