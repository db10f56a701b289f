"""Vocabulary that every room shares: identifiers, messages, roots, seeds, files and errors.

Imports nothing of ours. `ids`, `errors`, `seeds`, `files` and `lines` need no torch, so that plans can be made without
it.
"""
