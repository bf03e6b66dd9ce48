"""Models that can be personalized, and the programs that all methods share."""
