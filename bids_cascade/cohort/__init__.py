"""Many visits together: tables, columns, outliers, summary. May import derivatives, lesions, dataset and below."""
