"""PocketTune: let a phone train.

The shared core: formats that a device reads, methods, and the person's commands. Nothing is
imported here, so that reading a bundle needs neither torch nor a model.
"""

__version__ = "0.1.0"
