"""What a lesion mask means: connected components, volumes and agreement between masks."""
