"""`python -m service tune MODEL`: measure a model on this machine, and propose the settings that fit."""

from service.tuning.command import main

__all__ = ["main"]
