"""The analysis levels: entry points that read as prose, and nothing else. May import every room but cli and demo."""
