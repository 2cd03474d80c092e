"""Public datasets in their publishers' layouts, made into BIDS datasets. May import derivatives and below."""
