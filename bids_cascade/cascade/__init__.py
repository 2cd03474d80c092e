"""The method: a cascade of two 3D patch-wise CNNs, on arrays alone (numpy and torch)."""
