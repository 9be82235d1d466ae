"""`photoage report`: everything found, as one HTML page that needs nothing but itself."""
