"""Persons: who appears in several photos, when they were born, and what that says about ages and dates."""
