"""Synthetic heads: T1w, FLAIR and true lesions from a label map and lesion shapes; arrays alone. May import config."""
