"""Anatomy of a visit: atlas, registration, regions of lesions, filling. May import imaging, lesions, cascade, below."""
