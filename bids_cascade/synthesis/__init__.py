"""Synthetic heads: T1w, FLAIR and the true lesions from a label map and real lesion shapes; numpy and scipy only."""
