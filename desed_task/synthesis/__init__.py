"""Sounds and scenes of generated clips: voices, timbres, recordings, rooms, domains."""
