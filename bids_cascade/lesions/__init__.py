"""What a lesion mask means: rule, components, sizes, overlap, uncertainty. May import config and imaging."""
