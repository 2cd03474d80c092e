"""Which visits a run works on: found, checked, claimed. May import derivatives, dataset, imaging and below."""
