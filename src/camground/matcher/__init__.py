"""Image-text matchers, the study's own and pretrained ones, and their Grad-CAM."""
