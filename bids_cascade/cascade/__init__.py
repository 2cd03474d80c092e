"""The method: a cascade of two 3D patch-wise CNNs, on arrays alone; numpy, scipy and torch. May import config only."""
