"""The four networks that are trained: autoencoder, classifier, CLIP and denoiser; one file each."""
