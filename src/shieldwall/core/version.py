"""The version of the package; machines of one run should have the same."""

VERSION = "0.1.0"
