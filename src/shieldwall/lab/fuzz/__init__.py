"""What strangers, guests and members may send to an open port, by the thousand: `python -m shieldwall.lab.fuzz`."""
