"""Pages and figures: numbers come in, pages go out. May import cohort, evaluation, derivatives and below."""
