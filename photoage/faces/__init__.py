"""Pixels to detections and crops."""
