"""Parts of neural networks: walks over a U-Net, lean cores, quantization, noise schedules."""
