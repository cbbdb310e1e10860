"""GAN training centred on generative convolution: kernels selected and combined by the latent vector."""
