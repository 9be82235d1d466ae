"""Folders to files, a file to upright pixels and a date."""
