"""Many rounds of federated learning on one machine, or on many by Ray: ``pockettune simulate``."""
