"""Phantoms with known lesions, segmented and scored. May import every other room."""
