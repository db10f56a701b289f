"""What survives a kill: checkpoints that are whole or absent, and the way back to the last one."""
