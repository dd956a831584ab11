"""What the bench times: one attention site, the denoiser and the pipeline, for every method."""
