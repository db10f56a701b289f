"""How wrong work is seen, who is named for it, and what is kept as proof.

`duplicate/` keeps a host's records and compares a stage with its duplicate; `court/` is the initiator's side: it joins
all statements, closes cases and names culprits; `ledger/` is what remains.
"""
