"""Data sets from what people have: label files, recordings, isolated sounds; in DESED's layout."""
