"""A participant's finished visits, compared pair by pair, each pair once. May import report and below."""
