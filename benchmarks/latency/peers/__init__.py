"""Programs of other frameworks that run the same federated load, each in its own environment.

They read a folder that `load.py` describes and print one JSON object. Of this repository they share
the models and `load.py`, which need only torch and NumPy; the rest is as each framework's
documentation has its users write it.
"""
