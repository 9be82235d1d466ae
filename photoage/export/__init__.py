"""Faces written for other programs and for people."""
