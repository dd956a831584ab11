"""What commands ask about finished runs."""
