"""Scans that are killed, starved, locked out and fed damaged files, with real processes and real files."""
