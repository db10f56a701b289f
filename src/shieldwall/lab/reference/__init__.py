"""The reference in `docs/reference/`, made from the code alone: one module for each page, and the command."""
