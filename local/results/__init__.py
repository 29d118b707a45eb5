"""Results: predictions -> scores -> metrics, files, tables, pictures."""
