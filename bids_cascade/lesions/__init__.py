"""What a lesion mask means: rule, components, sizes, overlap, uncertainty; arrays alone. May import config only."""
