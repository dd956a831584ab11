"""What the bench times for every method: one attention site, the denoiser, and the pipeline."""
