"""A scan, composed of its stages."""
