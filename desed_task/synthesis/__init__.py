"""The generated data set in DESED's layout: voices, timbres, rooms, domains, scenes."""
