"""How fast the app is, as ratios taken side by side in one run."""
