"""What commands do with images: imported once their command line is known to be right, as it imports torch."""
