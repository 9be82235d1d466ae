"""Crops to estimates."""
