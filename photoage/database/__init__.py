"""What is stored, and answers from it."""
