"""piapi: a Raspberry Pi's camera, pins and doors over HTTP."""

__version__ = "0.1.0"
