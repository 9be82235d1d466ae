"""`photoage people page`: persons to see, name and correct, as one HTML page that needs nothing else."""
