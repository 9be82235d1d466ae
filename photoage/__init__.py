"""Face age estimates for whole photo libraries, stored in a local database."""

__version__ = "0.1.0"
