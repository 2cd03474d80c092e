"""Lesions of a mask: rule, components, sizes, overlap, uncertainty. May import config and imaging."""
