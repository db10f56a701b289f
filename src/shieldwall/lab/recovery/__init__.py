"""Runs over machines that are killed, stopped and cut off while they train: what is lost, and how long it takes."""
