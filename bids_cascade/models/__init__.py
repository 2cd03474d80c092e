"""Model files: reading them, writing them, and the one that is packaged. May import cascade, imaging and lesions."""
