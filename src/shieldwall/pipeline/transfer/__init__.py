"""States on their way between a host in another process and the coordinator: in chunks, from both who have one.

    in      ListState --> StateListed: the roots, held against the co-signed one before a tensor is asked for
            SendChunk --> ChunkSent: from both holders side by side, each tensor held against its own root
    out     ListKept --> KeptListed: what the host still has, or has begun to get
            TakeChunk --> ChunkTaken: the rest; then `Assign`, by names and roots

Read in this order: `chunks.py` (bytes of tensors), `served.py` and `kept.py` (a host's side), `intake.py` (whom to ask
for what, and who was wrong), `fetch.py` and `hand.py` (the coordinator's side). Within one process states go by
reference.
"""
