"""Public data sets as their publishers hand them out, made into BIDS datasets; may import derivatives and below."""
