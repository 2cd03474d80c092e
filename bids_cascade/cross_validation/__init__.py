"""Folds trained, segmented by models that have not seen them, and gathered. May import training and below."""
