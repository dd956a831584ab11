"""Measuring time and memory on an idle device: complete images, and single sites and denoisers (`bench`)."""
